"""From budgets to the subnet that keeps them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from mmengine.logging import print_log

from eavit_mm.models.budgets import cost_of
from eavit_mm.space import Budget, Subnet
from eavit_mm.space.budget import limit_of
from eavit_mm.space.cost_table import CostTable, load_of
from eavit_mm.space.fitting import USED, Fitter
from eavit_mm.space.latency import LatencyTable
from eavit_mm.space.pareto import Member

# Who chooses.
SOURCES = ('best', 'router', 'front', 'uniform')
_UNITS = dict(params='parameters', latency='ms')
# Steps over the router's range, where it does not know a kind of budget, or
# its choice for a budget does not fit it.
_SWEEP = 50

Limits = dict[str, float]


class BudgetSolver:
    """Answers budgets with subnets of a model; never one that exceeds them.

    - 'router': what the router chooses, repaired: the gates it is least sure
      of go or come until the budget is met, then steps of single choices,
      down until it fits and up while it does, use the rest.
    - 'front': of the evaluated subnets of the Pareto front that fit, the
      best.
    - 'best': of all evaluated subnets that fit, the router's answers to
      smaller budgets too, the best: quality on the held-out data never falls
      as a budget rises. Before the end of stage 2 those of the front, as
      the search measured them. Where none fits, the router.
    - 'uniform': the largest uniform subnet that fits.

    Without a router or a front, each gives way to the next that there is.

    Args:
        model: An elastic model.
        count: Of the MACs, 'exact' or 'paper'.
        part: Of the model that budgets limit; a latency is the whole's.
        table: For budgets in milliseconds.

    Raises:
        ValueError: If the model has no such part.
    """

    def __init__(
        self,
        model: Any,
        count: str = 'exact',
        part: str = 'total',
        table: LatencyTable | None = None,
    ) -> None:
        cost_of(model, 'macs', count, part)  # names a part that is not there
        self.model = model
        self.space = model.backbone.space
        self.count, self.part, self.table = count, part, table
        self._tables: dict[str, CostTable] = {}

    def __call__(self, budgets: Sequence[Budget], by: str = 'best') -> Subnet:
        """The subnet for one budget, or several at once.

        Args:
            budgets: Of different kinds; a share is one of the MACs.
            by: One of 'best', 'router', 'front', 'uniform'.

        Raises:
            ValueError: If ``by`` is none of these, or nothing fits; gives the
                reachable range.
        """
        if by not in SOURCES:
            raise ValueError(f'by={by!r}; must be one of {SOURCES}')
        limits = self.limits(budgets)
        known = self._known(by)
        fits = [m for m in known if self.load(m.subnet, limits) <= 1]
        if fits:
            return self._best(fits).subnet
        router = self.model.router
        if by == 'uniform' or router is None:
            return self._uniform(limits)
        if not router.is_ready and by != 'router':
            return self._uniform(limits)
        return self.routed(limits)

    # Limits

    def cost(self, kind: str) -> Callable[[Subnet], float]:
        """The cost that a kind of budget limits."""
        return cost_of(self.model, kind, self.count, self.part, self.table)

    def limits(self, budgets: Sequence[Budget]) -> Limits:
        """Kind of cost to the most of it.

        Raises:
            ValueError: If a budget cannot be reached.
        """
        limits: Limits = {}
        for budget in budgets:
            kind = 'macs' if budget.kind == 'share' else budget.kind
            table = self._costs(kind)
            limit = float(budget.value)
            if budget.kind == 'share':
                limit = limit_of(limit, table.largest)
            self._check_reachable(budget, limit, table)
            limits[kind] = min(limit, limits.get(kind, limit))
        return limits

    def _check_reachable(
        self, budget: Budget, limit: float, table: CostTable
    ) -> None:
        if not table.largest:
            raise ValueError(
                f'budget {budget.text}: count={self.count!r} leaves out the '
                f'{self.part}, which costs nothing then'
            )
        lowest, highest = table.lowest, table.highest
        if lowest > limit:
            unit = _UNITS.get(budget.kind, 'MACs')
            raise ValueError(
                f'budget {budget.text}: {limit:,.6g} {unit} of the '
                f'{self.part} cannot be reached; this space reaches '
                f'{lowest:,.9g} to {highest:,.9g} '
                f'({lowest / highest:.1%} to 100 %)'
            )
        if limit > highest:
            print_log(
                f'budget {budget.text} is above the largest network, which '
                f'has {highest:,.9g}',
                'current',
                logging.WARNING,
            )

    def load(self, subnet: Subnet, limits: Limits) -> float:
        """Largest share of a limit that a member of the space uses."""
        tables = {kind: self._costs(kind) for kind in limits}
        return load_of(subnet, tables, limits)

    def _costs(self, kind: str) -> CostTable:
        """:meth:`cost` of all members, read once."""
        if kind not in self._tables:
            self._tables[kind] = CostTable(self.space, self.cost(kind))
        return self._tables[kind]

    # Answers

    def measured(self, subnet: Subnet) -> Mapping[str, float]:
        """Metrics of a subnet on the held-out data; empty if not known.

        As measured after stage 2, where it was.
        """
        for member in self._known('best') or self._known('front'):
            if member.subnet == subnet:
                return member.metrics
        return {}

    def _known(self, by: str) -> Sequence[Member]:
        """The evaluated subnets that a source may answer with."""
        router = self.model.router
        if by in ('router', 'uniform') or router is None or not router.front:
            return ()
        front = router.evaluated.get('front') or router.front.members
        if by == 'front':
            return tuple(front)
        return [*front, *router.evaluated.get('router', ())]

    def _best(self, members: Sequence[Member]) -> Member:
        front = self.model.router.front
        sign = 1 if front.rule == 'greater' else -1
        # Few images make many equals: the largest is likeliest to be as good
        # on others.
        return max(
            members, key=lambda m: (sign * m.metrics[front.metric], m.macs)
        )

    @cached_property
    def _fitter(self) -> Fitter:
        return Fitter(self.space, self._tables)

    def _fit(self, subnet: Subnet, limits: Limits) -> Subnet:
        for kind in limits:
            self._costs(kind)  # the fitter looks them up
        found = self._fitter(subnet, limits)
        if found is None:
            asked = (
                f'{value:,.6g} {_UNITS.get(kind, "MACs")} (reachable are '
                f'{self._costs(kind).lowest:,.6g} to '
                f'{self._costs(kind).highest:,.6g})'
                for kind, value in limits.items()
            )
            raise ValueError(
                'no subnet is within all budgets at once: '
                + ' and '.join(asked)
            )
        return found

    def routed(self, limits: Limits) -> Subnet:
        """The router's choice, repaired and widened.

        Args:
            limits: Kind of cost to the most of it.

        Raises:
            ValueError: If no subnet was found within them.
        """
        router = self.model.router
        if set(router.kinds) & set(limits):
            shares = [
                limits[k] / self._costs(k).largest if k in limits else 1.0
                for k in router.kinds
            ]
            return self._fit(self._within(shares, limits), limits)
        lowest = max(t.lowest_share for t in router.tables.values())
        # Its own budgets from low to high: the last choice that fits.
        shares = [lowest] * len(router.kinds)
        for share in np.linspace(lowest, 1, _SWEEP):
            own = [float(share)] * len(router.kinds)
            if self.load(router.subnet(own), limits) <= 1:
                shares = own
        return self._fit(self._within(shares, limits), limits)

    def _within(self, shares: Sequence[float], limits: Limits) -> Subnet:
        """The largest that fits of what the router knows about a budget.

        Of its nested subnets; where those jump over the budget, as between
        two embedding widths, of its choices for smaller budgets too.
        """
        router = self.model.router
        start: Subnet = router.within(
            shares, lambda subnet: self.load(subnet, limits)
        )
        loads = {start: self.load(start, limits)}
        if USED <= loads[start] <= 1:
            return start
        for part in np.linspace(0, 1, _SWEEP):
            smaller = router.subnet([share * part for share in shares])
            loads[smaller] = self.load(smaller, limits)
        fits = [subnet for subnet, load in loads.items() if load <= 1]
        return max(fits, key=loads.__getitem__, default=start)

    def _uniform(self, limits: Limits) -> Subnet:
        """The largest uniform subnet; if none fits, one with branches off."""
        ladder = self.space.uniform_ladder
        fits = [s for s in ladder if self.load(s, limits) <= 1]
        if fits:
            return fits[-1]
        for kind in limits:
            cheapest = self._costs(kind).cheapest
            if self.load(cheapest, limits) <= 1:
                return cheapest
        return self._fit(ladder[0], limits)
