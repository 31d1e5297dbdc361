"""The Pareto front of cuts, judged without labels."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from eavit_mm.models import ElasticModelMixin
from eavit_mm.models.budget_solver import costs_of, table_for
from eavit_mm.rearrange.criteria import Scores
from eavit_mm.search.front import build_front
from eavit_mm.search.objectives import Objectives
from eavit_mm.snap.cut import Cuts
from eavit_mm.snap.evolution import PAIRS
from eavit_mm.snap.fidelity import Fidelity
from eavit_mm.space import Subnet
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.fitting import Limits
from eavit_mm.space.pareto import Member, ParetoFront

# Mean cosine similarity to the whole network's embeddings.
METRIC = 'similarity'
# How much heads may weigh beside neurons: scores do not tell, the front does.
EXCHANGES = (1 / 8, 1.0, 8.0)
# Parts of the range of MACs; each has a target and one reference.
BINS = 20


def cut_front(
    model: ElasticModelMixin,
    fidelity: Fidelity,
    scores: Scores,
    targets: Sequence[Limits] = (),
    latency_table: str | None = None,
    track: Callable[[Iterable[Subnet]], Iterable[Subnet]] = iter,
) -> ParetoFront:
    """Cuts a network at many targets, and keeps the best.

    Args:
        model: Its heads and neurons stand in the order of their scores.
        fidelity: Judges its subnets.
        scores: Of the heads and neurons, over all layers.
        targets: Further limits on costs that cuts are made for.
        latency_table: File of a table, for targets of latency.
        track: Shows how far the evaluation is.
    """
    space = model.backbone.space
    costs = costs_of(model, table_for(model, latency_table))
    tables = {kind: CostTable(space, cost) for kind, cost in costs.items()}
    cuts = [Cuts(space, scores, tables, e) for e in EXCHANGES]
    found = dict.fromkeys([space.largest, *cuts[0].at_sparsities(PAIRS)])
    macs = tables['macs']
    whole = space.largest
    narrow = replace(
        space.uniform(0),
        embed_dims=whole.embed_dims,
        head_dims=whole.head_dims,
    )
    low = macs.of_subnet(space.nearest(narrow))
    limits = np.linspace(macs.largest, low, BINS, endpoint=False)[1:]
    for each in cuts:
        subnet = space.largest
        for limit in limits:
            subnet = each.within(dict(macs=float(limit)), start=subnet)
            found[subnet] = None
        found.update(dict.fromkeys(map(each.within, targets)))
    members = []
    for subnet in track(found):
        own: Any = {kind: cost(subnet) for kind, cost in costs.items()}
        similarity = 1 - float(fidelity.losses(subnet).mean())
        members.append(Member(subnet, {METRIC: similarity}, **own))
    # A cut for a budget leaves for one that is no dearer by what that limits.
    limited = sorted(
        {kind for limits in targets for kind in limits} - {'macs'}
    )
    names = ('metric', 'macs', *limited)
    objectives = Objectives(space, tables, names, METRIC, scale=1)
    return build_front(objectives, members, BINS, samples=len(fidelity))
