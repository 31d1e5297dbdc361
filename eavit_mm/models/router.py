"""The router: from a budget to a subnet (EA-ViT, stage 2b).

Letters: K kinds of budgets, R references of the Pareto front, G gates of all
groups.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from eavit_mm.models.gates import (
    DecisionGates,
    GatedCost,
    Gates,
    decision_gates_of,
    gates_of,
    harden,
    subnets_of,
)
from eavit_mm.models.router_groups import Groups, mask_of, nested_choices
from eavit_mm.options import check_count, check_number, check_path
from eavit_mm.registry import MODELS
from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.budget import limit_of
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.pareto import Member, ParetoFront

# What the router adds to a model's losses; a teacher has no part in it.
LOSSES = ('loss_budget', 'loss_pareto', 'loss_surrogate', 'loss_predicted')


class Route(NamedTuple):
    """What the router chose for a pass of training.

    Attributes:
        subnet: The network that the pass trains.
        budgets: (K), shares of the largest subnet's costs; on the host.
        decisions: Those of the router, with gradients to it.
        gates: The gates of all units, likewise: gradients reach the router
            through the gated network. None: the network is sliced.
        front_weight: How much the distance to the Pareto front counts.
    """

    subnet: Subnet
    budgets: Tensor
    decisions: DecisionGates
    gates: Gates | None
    front_weight: float


@MODELS.register_module()
class RouterHead(BaseModule):
    """A two-layer MLP per decision group, from budgets to gates.

    Differences to the paper: gates are sorted, so that what is trained is a
    prefix and can be sliced; the distance to the Pareto front is a mean over
    the gates, not a sum, so that its weight means the same in any space; and
    budgets may be of several kinds, of which the one that is exceeded most
    counts.

    Args:
        front: ``pareto.json`` of the search. Its references are what the
            MLPs are fitted to before training; None only where a checkpoint
            brings the router's weights.
        budgets: Kinds of cost that are limited: 'macs', 'params', 'latency'.
        part: What of the model budgets limit, such as 'backbone' where neck
            and head cost most and hardly less for a smaller one; a latency
            is always the whole's.
        latency_table: File of a table, for 'latency'.
        hidden: Units of an MLP's hidden layer for each of its gates.
        temperature: Temperature of the Gumbel sigmoid.
        budget_weight: lambda 1, the weight of the squared deviation from the
            budget.
        pareto_weight: lambda 2, the weight of the squared distance to the
            front when training begins;
            :class:`eavit_mm.engine.hooks.RouterHook` lowers it.
        highest: Training draws budgets up to this share; above 1 is 1.
        skew: How budgets are drawn: 1 for even ones, as in the paper; above 1
            low ones come more often. At 2 widths are about even, since costs
            rise with their squares.
        gated_every: One of so many iterations trains the router through the
            gated network; in the others the backbone trains at the router's
            subnets, sliced, and the router by its own losses. 1 is the paper.
        passes: Budgets of an iteration.
        fit_steps: Steps of the fit to the references.
        space: The model's search space.
        tables: The model's costs by kind.
        init_cfg: As in mmengine.

    Raises:
        ValueError: If an option is not valid; names it.

    Example:
        >>> model = dict(router=dict(type='eavit_mm.RouterHead',
        ...                          front='work_dirs/search/pareto.json'))
    """

    needs_front = True

    def __init__(
        self,
        *,
        space: SearchSpace,
        tables: Mapping[str, CostTable],
        front: str | None = None,
        budgets: Sequence[str] = ('macs',),
        part: str = 'total',
        latency_table: str | None = None,
        hidden: int = 1,
        temperature: float = 1.0,
        budget_weight: float = 20.0,
        pareto_weight: float = 20.0,
        highest: float = 1.1,
        skew: float = 1.0,
        gated_every: int = 1,
        passes: int = 1,
        fit_steps: int = 1000,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(init_cfg)
        check_path('router.front', front)
        check_number('router.skew', skew, positive=True)
        check_number('router.budget_weight', budget_weight)
        check_number('router.pareto_weight', pareto_weight)
        check_count('router.gated_every', gated_every, least=1)
        check_count('router.passes', passes, least=1)
        check_count('router.fit_steps', fit_steps)
        self.space = space
        self.kinds, self.part = tuple(budgets), part
        self.tables = {kind: tables[kind] for kind in self.kinds}
        _check_highest(highest, self.tables)
        costs = {kind: GatedCost(t) for kind, t in self.tables.items()}
        self.costs = nn.ModuleDict(costs)
        self.front_file, self.latency_table = front, latency_table
        # What the table was measured with; the model's to say.
        self.latency_setting: Mapping[str, Any] | None = None
        self.budget_weight, self.pareto_weight = budget_weight, pareto_weight
        self.highest, self.skew = highest, skew
        self.gated_every, self.passes = gated_every, passes
        self.fit_steps = fit_steps
        self.groups = Groups(space, len(self.kinds), hidden, temperature)
        # Between these iterations the weight of the front falls to 0; else it
        # stays. A constant of the run, which only RouterHook knows.
        self.fade: tuple[int, int] | None = None
        # Before the MLPs are initialised or loaded, choices mean nothing.
        self.is_ready = False
        self.front: ParetoFront | None = None
        # Measured with the weights of stage 2, on so many samples: members of
        # the front under 'front', the router's answers under 'router'.
        self.evaluated: dict[str, tuple[Member, ...]] = {}
        self.samples: int | None = None
        # No buffers: averaged copies of a model pair theirs with its own.
        # On the host.
        self.reference_costs = torch.zeros(0)  # (R, K)
        self.reference_masks = torch.zeros(0)  # (R, G)
        # Here already, for the copies that are made before training. Where a
        # checkpoint brings the front, the file need not be there any more.
        if front is not None and Path(front).is_file():
            self.set_front(_read_front(front, space))

    # From budgets to a subnet

    def forward(
        self, budgets: Tensor, generator: torch.Generator | None = None
    ) -> DecisionGates:
        """Gates of every group.

        Args:
            budgets: (..., K), as everywhere shares of the largest subnet's
                costs.
            generator: Draws the Gumbel noise; None for none, as in use.
        """
        return harden(self.space, self.groups(budgets, generator))

    def subnet(self, budgets: Sequence[float]) -> Subnet:
        """What the router chooses, whatever it costs."""
        return self.subnets([budgets])[0]

    @torch.no_grad()
    def subnets(self, budgets: Sequence[Sequence[float]]) -> list[Subnet]:
        """Likewise for each of several budgets, at once."""
        return subnets_of(self.space, self(self._inputs(budgets)))

    @torch.no_grad()
    def nested(self, budgets: Sequence[float]) -> list[Subnet]:
        """Subnets around the router's choice, see :func:`nested_choices`."""
        soft = self.groups(self._inputs(budgets))
        rows, off = nested_choices(self.space, soft)
        return list(dict.fromkeys(self.space.build(row, off) for row in rows))

    def limits(self, budgets: Sequence[float]) -> dict[str, float]:
        """Kind of cost to the most of it."""
        pairs = zip(self.tables.items(), budgets, strict=True)
        return {k: limit_of(share, t.largest) for (k, t), share in pairs}

    def _kept_choice(self, soft: Tensor, budgets: Tensor) -> Subnet:
        """The choice of soft gates, opened or shut until it keeps budgets.

        The dearest of its nested subnets that does, or the smallest, where
        even that exceeds them. At use single steps follow.
        """
        rows, off = nested_choices(self.space, soft)
        limits = self.limits(budgets.tolist()).items()
        used = [self.tables[kind].of_rows(rows, off) / m for kind, m in limits]
        most = np.max(used, axis=0)
        # Subnets are slow to make; a GPU would wait for all of them.
        best = np.where(most <= 1, most, -1.0).argmax()
        return self.space.build(rows[best], off)

    def _inputs(self, budgets: Sequence[Any]) -> Tensor:
        """What the MLPs are given: clamped to 1 as in training."""
        return torch.tensor(budgets, dtype=torch.float64).clamp(max=1.0)

    # Training

    def draw(self, seed: Sequence[int], iteration: int) -> list[Route]:
        """The routes of an iteration: a function of the arguments alone.

        Gated passes explore with Gumbel noise. Sliced ones train what the
        router answers with at use, which the backbone is to be good at.

        Args:
            seed: Seed of the budgets and the noise.
            iteration: Data batches trained on before.
        """
        is_gated = iteration % self.gated_every == 0
        front_weight = self._front_weight(iteration)
        rng = np.random.default_rng(seed)
        lowest = np.array([t.lowest_share for t in self.tables.values()])
        parameter = next(self.parameters())
        routes = []
        for _ in range(self.passes):
            places = rng.uniform(size=len(lowest)) ** self.skew
            shares = (lowest + places * (self.highest - lowest)).clip(max=1.0)
            noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
            budgets = torch.tensor(shares, dtype=parameter.dtype)
            route = self._route(budgets, noise, is_gated)
            routes.append(route._replace(front_weight=front_weight))
        return routes

    def _route(
        self, budgets: Tensor, noise: torch.Generator, is_gated: bool
    ) -> Route:
        """One of the routes of an iteration."""
        soft = self.groups(budgets, noise if is_gated else None)
        decisions = harden(self.space, soft)
        gates = gates_of(self.space, decisions) if is_gated else None
        subnet = gates.subnet if gates else self._kept_choice(soft, budgets)
        return Route(subnet, budgets, decisions, gates, 0.0)

    def _front_weight(self, iteration: int) -> float:
        """The weight of the distance to the front: falls linearly to 0."""
        if self.fade is None:
            return self.pareto_weight
        begin, end = self.fade
        done = max(iteration - begin, 0)
        return self.pareto_weight * (1.0 - done / (end - begin))

    def losses(
        self, route: Route, measured: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Deviation from the budget, and distance to the Pareto front.

        ``lambda1 (cost / largest - budget)^2`` of the kind that exceeds its
        budget most, or comes nearest to it, and ``lambda2 |mask - mask of the
        nearest reference|^2``, a mean over the gates. What the network's own
        losses are has no part in them.
        """
        costs = [cost(route.decisions) for cost in self.costs.values()]
        shares = torch.stack(costs)
        budgets = route.budgets.to(shares, non_blocking=True)
        excess = (shares - budgets).max()
        losses = dict(loss_budget=self.budget_weight * excess.square())
        if self.front is not None and route.front_weight:
            # Found on the host, which need not wait for the device then.
            distance = self.reference_costs - route.budgets
            nearest = distance.square().sum(dim=1).argmin()
            reference = self.reference_masks[nearest]
            reference = reference.to(shares, non_blocking=True)
            mask = mask_of(self.space, route.decisions)
            error = (mask - reference).square().mean()
            losses['loss_pareto'] = route.front_weight * error
        return losses

    # The Pareto front

    def init_weights(self) -> None:
        """Fits the MLPs to the references of the front, if there is one.

        Raises:
            ValueError: If it is not there, broken, or of another space.
        """
        super().init_weights()
        if self.front is None and self.front_file is not None:
            self.set_front(_read_front(self.front_file, self.space))
        if self.front is not None:
            parameter = next(self.parameters())
            costs = self.reference_costs.to(parameter)
            masks = self.reference_masks.to(parameter)
            self.groups.fit(costs, masks, self.fit_steps)
        self.is_ready = True

    def set_front(self, front: ParetoFront) -> None:
        """Makes a front the one whose references the router is held to."""
        self.front = front
        costs, masks = [], []
        for member in front.references:
            decisions = decision_gates_of(self.space, member.subnet)
            tables = self.tables.values()
            costs.append([table.share(member.subnet) for table in tables])
            masks.append(mask_of(self.space, decisions))
        self.reference_costs = torch.tensor(costs)
        self.reference_masks = torch.stack(masks)

    # In checkpoints, which then need no file beside them

    def get_extra_state(self) -> Tensor:
        """Front and evaluated subnets: bytes of JSON, as all are tensors."""
        values = dict(
            budgets=self.kinds,
            part=self.part,
            is_ready=self.is_ready,
            front=None if self.front is None else self.front.to_dict(),
            evaluated={
                source: [member.to_dict() for member in members]
                for source, members in self.evaluated.items()
            },
            samples=self.samples,
        )
        text = bytearray(json.dumps(values).encode())
        return torch.frombuffer(text, dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """The inverse.

        Raises:
            ValueError: If it is broken, or of another space.
        """
        try:
            values = json.loads(bytes(state.cpu().tolist()))
            kinds = tuple(values.get('budgets', self.kinds))
            part = values.get('part', 'total')  # not in earlier versions
            front = values['front']
            if front is not None:
                self.set_front(ParetoFront.from_dict(front, self.space))
            self.evaluated = {
                source: tuple(map(Member.from_dict, members))
                for source, members in values['evaluated'].items()
            }
            self.samples = values.get('samples')  # not in earlier versions
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'the front beside the router is broken: {error!r:.200}; '
                'the checkpoint is damaged, take an earlier one'
            ) from error
        for name, own, found in (
            ('budgets', list(self.kinds), list(kinds)),
            ('part', self.part, part),
        ):
            if own != found:
                raise ValueError(
                    f'router.{name}={own!r}; the router of the checkpoint has '
                    f'{found!r}'
                )
        self.is_ready = bool(values.get('is_ready', True))


def _read_front(path: str, space: SearchSpace) -> ParetoFront:
    """The front that a config names; errors name the option."""
    try:
        return ParetoFront.read(path, space)
    except (OSError, ValueError) as error:
        raise ValueError(
            f'router.front={path!r}: {error}; tools/search.py writes such a '
            'file into its work directory'
        ) from error


def _check_highest(highest: Any, tables: Mapping[str, CostTable]) -> None:
    """Refuses budgets that no subnet keeps."""
    check_number('router.highest', highest, positive=True)
    lowest = max(table.lowest_share for table in tables.values())
    if highest <= lowest:
        raise ValueError(
            f'router.highest={highest}; must be above the share of the '
            f'cheapest subnet, {lowest:.3f}'
        )
