"""The router: from a budget to a subnet (EA-ViT, stage 2b).

Letters: K kinds of budgets, R references of the Pareto front.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from eavit_mm.models.extra_state import packed, unpacked
from eavit_mm.models.gated_cost import GatedCost
from eavit_mm.models.gates import (
    Decisions,
    Gates,
    decisions_of,
    gates_of,
    prefix_gates,
    subnet_of,
    switch_gates,
)
from eavit_mm.options import check_count, check_number, check_path
from eavit_mm.registry import MODELS
from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.budget import limit_of
from eavit_mm.space.cells import Cell
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.fitting import Walker
from eavit_mm.space.pareto import COSTS, Member, ParetoFront

# What the router adds to a model's losses; a teacher has no part in it.
LOSSES = ('loss_budget', 'loss_pareto')
_SWITCHES = 'switches'
# Of the fit to the references: how sure the router is to be of a width gate
# and of a branch. Targets below 1 keep some gradient alive. Noise and the
# deviation from the budget move what is less sure; a branch that goes off by
# chance costs far more than a step of a width.
_SURE_OF_WIDTHS, _SURE_OF_BRANCHES = 0.9, 0.99


class Route(NamedTuple):
    """What the router chose for a pass of training.

    Attributes:
        budgets: (K), shares of the largest subnet's costs.
        decisions: With gradients to the router.
        gates: Of all units, likewise.
    """

    budgets: Tensor
    decisions: Decisions
    gates: Gates


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
        latency_table: File of a table, for 'latency'.
        hidden: Units of an MLP's hidden layer for each of its gates.
        temperature: Of the Gumbel sigmoid.
        budget_weight: lambda 1, of the squared deviation from the budget.
        pareto_weight: lambda 2, of the squared distance to the front, when
            training begins; :class:`eavit_mm.engine.hooks.RouterHook` lowers
            it.
        highest: Training draws budgets up to this share; above 1 is 1.
        skew: Of the drawn budgets: 1 for even ones, as in the paper; above 1
            low ones come more often. At 2 widths are about even, since costs
            rise with their squares.
        gated_every: Of so many iterations one trains the router through the
            gated network; in the others the backbone trains at the router's
            subnets, sliced, and the router by its own losses. 1 is the paper.
        passes: Budgets of an iteration.
        fit_steps: Of the fit to the references.
        space: The model's.
        tables: The model's costs by kind.
        init_cfg: Of mmengine.

    Raises:
        ValueError: If an option is not valid; names it.

    Example:
        >>> model = dict(router=dict(type='eavit_mm.RouterHead',
        ...                          front='work_dirs/search/pareto.json'))
    """

    def __init__(
        self,
        *,
        space: SearchSpace,
        tables: Mapping[str, CostTable],
        front: str | None = None,
        budgets: Sequence[str] = ('macs',),
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
        check_budgets(budgets, latency_table)
        check_number('router.temperature', temperature, positive=True)
        check_number('router.budget_weight', budget_weight)
        check_number('router.pareto_weight', pareto_weight)
        check_number('router.highest', highest, positive=True)
        check_number('router.skew', skew, positive=True)
        for name, value in (
            ('hidden', hidden),
            ('gated_every', gated_every),
            ('passes', passes),
        ):
            check_count(f'router.{name}', value, least=1)
        check_count('router.fit_steps', fit_steps)
        self.space = space
        self.kinds = tuple(budgets)
        self.tables = {kind: tables[kind] for kind in self.kinds}
        self.walker = Walker(space, self.tables)
        lowest = [t.lowest_share for t in self.tables.values()]
        if highest <= max(lowest):
            raise ValueError(
                f'router.highest={highest}; must be above the share of the '
                f'cheapest subnet, {max(lowest):.3f}'
            )
        self.costs = nn.ModuleDict(
            {kind: GatedCost(table) for kind, table in self.tables.items()}
        )
        self.front_file = front
        self.latency_table = latency_table
        self.temperature = temperature
        self.budget_weight = budget_weight
        self.pareto_weight = pareto_weight
        self.highest = highest
        self.skew = skew
        self.gated_every = gated_every
        self.passes = passes
        self.fit_steps = fit_steps
        # Lowered from 1 to 0 while it trains.
        self.pareto_scale = 1.0
        self.groups = nn.ModuleDict(
            {
                name: _mlp(len(self.kinds), number, hidden)
                for name, number in self._group_sizes().items()
                if number
            }
        )
        if not self.groups:
            raise ValueError(
                'model.router: the space has one member, there is nothing to '
                'choose; give backbone.space more, or router=None'
            )
        # Fitted to a front, or trained; before, its choices mean nothing.
        self.is_ready = False
        self.front: ParetoFront | None = None
        # Measured again with the weights of stage 2: members of the front
        # under 'front', the router's answers under 'router'.
        self.evaluated: dict[str, tuple[Member, ...]] = {}
        # On how many samples they were; None if not known.
        self.samples: int | None = None
        # No buffers: averaged copies of a model pair theirs with its own.
        self.reference_costs = torch.zeros(0)  # (R, K)
        self.reference_masks = torch.zeros(0)  # (R, gates)
        # Here already, for the copies that are made before training. Where a
        # checkpoint brings the front, the file need not be there any more.
        if front is not None and Path(front).is_file():
            self.set_front(_read_front(front, space))

    def _group_sizes(self) -> dict[str, int]:
        """Gates of each group: choices beyond the smallest, and branches."""
        sizes = {
            group_name(cell): cell.num_choices - 1 for cell in self.space.cells
        }
        if self.space.max_off:
            sizes[_SWITCHES] = len(self.space.branches)
        return sizes

    # From budgets to a subnet

    def forward(
        self, budgets: Tensor, generator: torch.Generator | None = None
    ) -> Decisions:
        """Gates of every group.

        Args:
            budgets: (K), shares of the largest subnet's costs.
            generator: Of the Gumbel noise; None for none, as in use.
        """
        return self._decided(self.soft_gates(budgets, generator))

    def _decided(self, soft: Mapping[str, Tensor]) -> Decisions:
        """The hard gates of soft ones."""
        empty = next(iter(soft.values())).new_zeros(0)
        prefixes = tuple(
            prefix_gates(soft.get(group_name(cell), empty))
            for cell in self.space.cells
        )
        if _SWITCHES not in soft:
            return Decisions(prefixes, None)
        switches = switch_gates(soft[_SWITCHES], self.space.max_off)
        return Decisions(prefixes, switches)

    def soft_gates(
        self, budgets: Tensor, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Gates in (0, 1) by group: a sigmoid of logits and noise."""
        logits = {name: mlp(budgets) for name, mlp in self.groups.items()}
        soft = {}
        for name, values in logits.items():
            if generator is not None:
                # The difference of two Gumbel variables is logistic. Drawn on
                # the CPU, so that every device gets the same.
                u = torch.rand(values.shape, generator=generator)
                noise = torch.logit(u, eps=1e-6).to(values)
                values = (values + noise) / self.temperature
            soft[name] = values.sigmoid()
        return soft

    @torch.no_grad()
    def subnet(self, budgets: Sequence[float]) -> Subnet:
        """What the router chooses, whatever it costs.

        Args:
            budgets: (K), shares of the largest subnet's costs.
        """
        return subnet_of(self.space, self(self._shares(budgets)))

    @torch.no_grad()
    def nested(self, budgets: Sequence[float]) -> list[Subnet]:
        """Subnets around the router's choice, each within the next.

        Gates are opened in the order of how sure the router is of them: of
        each group as many as are above a threshold, which is the same for
        all groups. At a half it is the router's choice. Branches that it
        leaves on or off stay so.

        Args:
            budgets: (K), shares of the largest subnet's costs.
        """
        soft = self.soft_gates(self._shares(budgets))
        soft = {name: values.cpu() for name, values in soft.items()}
        chosen = subnet_of(self.space, self._decided(soft))
        off = self.space.decisions(chosen).off
        soft.pop(_SWITCHES, None)
        thresholds = {0.0, 1.0}.union(*(v.tolist() for v in soft.values()))
        falling = torch.tensor(
            sorted(thresholds, reverse=True), dtype=torch.float64
        )
        # All thresholds at once: (thresholds, gates) -> (thresholds).
        opened = {
            name: (values.double() > falling[:, None]).sum(dim=1).tolist()
            for name, values in soft.items()
        }
        closed = [0] * len(falling)
        columns = [
            opened.get(group_name(cell), closed) for cell in self.space.cells
        ]
        subnets = [
            self.space.build(indices, off)
            for indices in zip(*columns, strict=True)
        ]
        return list(dict.fromkeys(subnets))

    def limits(self, budgets: Sequence[float]) -> dict[str, float]:
        """Kind of cost to the most of it.

        Args:
            budgets: (K), shares of the largest subnet's costs.
        """
        pairs = zip(self.tables.items(), budgets, strict=True)
        return {k: limit_of(share, t.largest) for (k, t), share in pairs}

    def repaired(self, route: Route) -> Subnet:
        """The choice of a route, opened or shut until it keeps its budgets.

        The largest of its nested subnets that does, or the smallest, where
        even that exceeds them. At use single steps follow.
        """
        budgets = route.budgets.tolist()
        nested = self.nested(budgets)
        return self.walker.fullest(nested, self.limits(budgets)) or nested[0]

    def _shares(self, budgets: Sequence[float]) -> Tensor:
        """Input of the MLPs."""
        parameter = next(self.parameters())
        return parameter.new_tensor([min(b, 1.0) for b in budgets])

    # Training

    def draw(self, seed: Sequence[int], is_noisy: bool = True) -> list[Route]:
        """The routes of an iteration: a function of the seed alone.

        Budgets lie between the cheapest subnet's share and ``highest``,
        clamped to 1: so much of the way, as a uniform number to the power of
        ``skew`` says.

        Args:
            seed: Of the budgets and the noise.
            is_noisy: With Gumbel noise, to explore; else just what the router
                answers with at use, which the backbone is to be good at.
        """
        self.is_ready = True
        routes = []
        rng = np.random.default_rng(seed)
        parameter = next(self.parameters())
        lowest = np.array([t.lowest_share for t in self.tables.values()])
        for _ in range(self.passes):
            places = rng.uniform(size=len(lowest)) ** self.skew
            shares = (lowest + places * (self.highest - lowest)).clip(max=1.0)
            noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
            budgets = parameter.new_tensor(shares)
            decisions = self(budgets, noise if is_noisy else None)
            gates = gates_of(self.space, decisions)
            routes.append(Route(budgets, decisions, gates))
        return routes

    def losses(self, route: Route) -> dict[str, Tensor]:
        """Deviation from the budget, and distance to the Pareto front.

        ``lambda1 (cost / largest - budget)^2`` of the kind that exceeds its
        budget most, or comes nearest to it, and ``lambda2 |mask - mask of the
        nearest reference|^2``, a mean over the gates.
        """
        shares = torch.stack(
            [cost(route.decisions) for cost in self.costs.values()]
        )
        excess = (shares - route.budgets).max()
        losses = dict(loss_budget=self.budget_weight * excess.square())
        weight = self.pareto_weight * self.pareto_scale
        if self.front is not None and weight:
            distance = self.reference_costs.to(shares) - route.budgets
            nearest = distance.square().sum(dim=1).argmin()
            mask = self.reference_masks.to(shares)[nearest]
            error = (self._mask(route.decisions) - mask).square().mean()
            losses['loss_pareto'] = weight * error
        return losses

    def _mask(self, decisions: Decisions) -> Tensor:
        """All gates of the groups, in one vector.

        The width of a branch that is off does not count: it is no fact of
        the subnet.
        """
        prefixes, switches = decisions
        if switches is None:
            return torch.cat(prefixes)
        on = dict(zip(self.space.branches, switches.unbind(), strict=True))
        masks = [
            prefix * on[cell.branches[0]]
            if len(cell.axes) == len(cell.branches) == 1
            else prefix
            for cell, prefix in zip(self.space.cells, prefixes, strict=True)
        ]
        return torch.cat([*masks, switches])

    # The Pareto front

    def init_weights(self) -> None:
        """Fits the MLPs to the references of the front.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is broken, or of another space.
        """
        super().init_weights()
        if self.front_file is not None:
            self.set_front(_read_front(self.front_file, self.space))
            self.fit()

    def set_front(self, front: ParetoFront) -> None:
        """Makes a front the one whose references the router is held to."""
        self.front = front
        subnets = [member.subnet for member in front.references]
        costs = [
            [table.share(subnet) for table in self.tables.values()]
            for subnet in subnets
        ]
        masks = [self._mask(decisions_of(self.space, s)) for s in subnets]
        self.reference_costs = torch.tensor(costs)
        self.reference_masks = torch.stack(masks)

    def fit(self) -> None:
        """Moves the MLPs towards the references, from where they are."""
        parameter = next(self.parameters())
        costs = self.reference_costs.to(parameter)
        gates = self.reference_masks.shape[1]
        sure = costs.new_full((gates,), _SURE_OF_WIDTHS)
        if _SWITCHES in self.groups:  # the last
            sure[-len(self.space.branches) :] = _SURE_OF_BRANCHES
        masks = self.reference_masks.to(parameter)
        targets = masks * sure + (1 - masks) * (1 - sure)
        optimizer = torch.optim.Adam(self.groups.parameters(), lr=1e-2)
        for _ in range(self.fit_steps):
            logits = [mlp(costs) for mlp in self.groups.values()]
            error = F.binary_cross_entropy_with_logits(
                torch.cat(logits, dim=1), targets
            )
            optimizer.zero_grad()
            torch.autograd.backward(error)
            optimizer.step()
        optimizer.zero_grad()
        self.is_ready = True

    # In checkpoints, which then need no file beside them

    def get_extra_state(self) -> Tensor:
        """Front and evaluated subnets as bytes of JSON.

        A tensor, as all of a checkpoint is.
        """
        return packed(
            dict(
                budgets=self.kinds,
                is_ready=self.is_ready,
                front=None if self.front is None else self.front.to_dict(),
                evaluated={
                    source: [member.to_dict() for member in members]
                    for source, members in self.evaluated.items()
                },
                samples=self.samples,
            )
        )

    def set_extra_state(self, state: Tensor) -> None:
        """The inverse.

        Raises:
            ValueError: If it is broken, or of another space.
        """
        try:
            values = unpacked(state)
            kinds = tuple(values.get('budgets', self.kinds))
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
        if kinds != self.kinds:
            raise ValueError(
                f'router.budgets={list(self.kinds)}; the router of the '
                f'checkpoint has {list(kinds)}'
            )
        self.is_ready = bool(values.get('is_ready', True))


def _read_front(path: str, space: SearchSpace) -> ParetoFront:
    """The front that a config names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is broken, or of another space.
    """
    try:
        return ParetoFront.read(path, space)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'router.front={path!r} is not there; tools/search.py writes '
            'such a file into its work directory'
        ) from error
    except (OSError, ValueError) as error:
        raise ValueError(f'router.front={path!r}: {error}') from error


def group_name(cell: Cell) -> str:
    """Name of a cell's MLP: its axes, and its layer if it has only one."""
    axes = '+'.join(cell.axes)
    is_one = len(cell.layers) == 1 and cell.branches
    return f'{axes}_{cell.layers[0]}' if is_one else axes


def check_budgets(budgets: Any, latency_table: Any) -> None:
    """Raises unless kinds of budgets are known, and there is a table.

    Raises:
        ValueError: Names the option.
    """
    is_list = isinstance(budgets, list | tuple) and len(budgets) > 0
    if not is_list or any(kind not in COSTS for kind in budgets):
        raise ValueError(
            f'router.budgets={budgets!r}; must list some of {list(COSTS)}'
        )
    if len(set(budgets)) < len(budgets):
        raise ValueError(f'router.budgets={budgets!r}: one stands twice')
    check_path('router.latency_table', latency_table)
    if ('latency' in budgets) != (latency_table is not None):
        raise ValueError(
            f'router.budgets={budgets!r}, latency_table={latency_table!r}: '
            "'latency' and a table (tools/latency.py) go together"
        )


def _mlp(inputs: int, gates: int, hidden: int) -> nn.Sequential:
    width = hidden * gates
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, gates)
    )
