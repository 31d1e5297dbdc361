"""What a trained router answers with, measured on held-out data."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from mmengine.hooks import EMAHook
from mmengine.runner import Runner

from eavit_mm.engine.calibration import norm_batches
from eavit_mm.engine.checkpoint import naming
from eavit_mm.engine.fitness import Fitness
from eavit_mm.engine.ranked_fitness import RankedFitness
from eavit_mm.engine.unwrap import unwrap
from eavit_mm.models import BudgetSolver
from eavit_mm.models.budget_solver import costs_of, table_for
from eavit_mm.search.front import build_front
from eavit_mm.search.objectives import Objectives
from eavit_mm.snap.front import BINS
from eavit_mm.snap.front import METRIC as WITHOUT_LABELS
from eavit_mm.space import Subnet
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.pareto import METRIC, Member, ParetoFront

# Options of a search that say how its metric is to be read.
_READING = dict(rule='rule', metric_scale='scale', metric_worst='worst')


def new_objectives(model: Any, cfg: Mapping[str, Any]) -> Objectives | None:
    """What the front beside a router is to be judged by, if anew.

    Cuts of SnapViT were judged without labels: they get the metric of a
    search. None for the front of a search.

    Raises:
        ValueError: If ``search_cfg`` names none, or has a wrong option.
    """
    front: ParetoFront = model.router.front
    if front.metric != WITHOUT_LABELS:
        return None
    search = cfg.get('search_cfg') or {}
    metric = search.get('metric')
    if not isinstance(metric, str):
        raise ValueError(
            f'search_cfg.metric={metric!r}; must name the metric of the '
            'validation: the subnets of model.router.front were judged '
            'without labels'
        )
    costs = costs_of(model, table_for(model, model.router.latency_table))
    tables = {k: CostTable(front.space, cost) for k, cost in costs.items()}
    with naming('search_cfg'):
        return Objectives(
            front.space,
            tables,
            [k for k in front.objectives if k == METRIC or k in tables],
            metric,
            **{_READING[k]: search[k] for k in _READING.keys() & {*search}},
        )


def evaluate_answers(runner: Runner, number: int) -> None:
    """Measures the front again, and the router's answers to budgets.

    With the weights as they are, or those of an average that is kept of them,
    on the validation data, each subnet on one rank. What is found goes into
    the router, and so into checkpoints. A front that was judged without
    labels becomes that of the metric.

    Args:
        runner: In training, with a validation loop.
        number: Budgets, spread evenly from the cheapest subnet's cost to the
            largest's.
    """
    model: Any = unwrap(runner.model)
    loop, front = runner.val_loop, model.router.front
    objectives = new_objectives(model, runner.cfg)
    metric = objectives.metric if objectives else front.metric
    model.norm_batches = norm_batches(runner.cfg)
    averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    model.eval()
    with _averaged_weights(averages):
        fitness = Fitness(model, loop.dataloader, loop.evaluator, metric)
        table = table_for(model, model.router.latency_table)
        ranked = RankedFitness(fitness, costs_of(model, table))
        found = ranked.run(lambda: _measure_answers(model, ranked, number))
    model.train()
    samples = fitness.data.size
    if objectives:
        front = build_front(objectives, found['front'], BINS, samples=samples)
    for each in (model, *(hook.ema_model.module for hook in averages)):
        if objectives:
            each.router.set_front(front)
        each.router.evaluated, each.router.samples = found, samples


def _measure_answers(
    model: Any, ranked: RankedFitness, number: int
) -> dict[str, tuple[Member, ...]]:
    front = model.router.front
    subnets = dict(
        front=[m.subnet for m in (*front.members, *front.references)],
        router=router_answers(model, number),
    )
    distinct = list(
        dict.fromkeys(s for part in subnets.values() for s in part)
    )
    members = dict(zip(distinct, ranked(distinct), strict=True))
    return {
        source: tuple(members[s] for s in dict.fromkeys(part))
        for source, part in subnets.items()
    }


def router_answers(model: Any, number: int) -> list[Subnet]:
    """The router's answers to budgets spread evenly over its range.

    Of several kinds all get the same share; budgets that cannot be kept are
    left out.
    """
    router = model.router
    lowest = max(t.lowest_share for t in router.tables.values())
    solver = BudgetSolver(model, table=router.latency_table)
    answers = []
    for share in np.linspace(lowest, 1.0, number):
        limits = router.limits([float(share)] * len(router.kinds))
        # Each of several budgets can be kept alone, not all at once perhaps.
        with suppress(ValueError):
            answers.append(solver.route(limits))
    return answers


@contextmanager
def _averaged_weights(averages: list[EMAHook]) -> Iterator[None]:
    """With the weights that a checkpoint will give, averaged if they are."""
    for hook in averages:
        hook._swap_ema_parameters()
    try:
        yield
    finally:
        for hook in averages:
            hook._swap_ema_parameters()
