"""Who answers a budget: from limits to the subnet that keeps them."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from eavit_mm.options import check_path
from eavit_mm.space import Budget, Subnet
from eavit_mm.space.budget import limit_of
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.fitting import USED, Limits, Walker, out_of_reach, shown
from eavit_mm.space.latency import LatencyTable
from eavit_mm.space.pareto import COSTS, ParetoFront, standard_error

_UNITS = dict(params='parameters', latency='ms')
# Steps over the router's range, where it does not know a kind of budget, or
# its choice for a budget does not fit it.
_SWEEP = 50


class UnreachableError(ValueError):
    """A budget that no subnet keeps; all else is as it should be."""


def table_for(
    model: Any, source: LatencyTable | str | Path | None
) -> LatencyTable | None:
    """A latency table, or that of a file, checked for a model; or None.

    Raises:
        ValueError: If it is no path, no table, or of another network.
    """
    if source is None or isinstance(source, LatencyTable):
        return source
    check_path('latency_table', source)
    table = LatencyTable.read(source)
    table.check(model.backbone.space, model.backbone.geometry)
    return table


def front_for(
    model: Any, source: ParetoFront | str | Path | None
) -> ParetoFront | None:
    """A Pareto front, or that of a file, checked for a model; or None.

    Raises:
        ValueError: Likewise; it was searched with another head, perhaps.
    """
    if source is None:
        return None
    front = source
    if not isinstance(front, ParetoFront):
        check_path('front', front)
        front = ParetoFront.read(front, model.backbone.space)
    costs = costs_of(model).items()
    for member in (*front.members, *front.references):
        own = {kind: cost(member.subnet) for kind, cost in costs}
        found = {kind: member.cost(kind) for kind in own}
        if own != found:
            raise ValueError(
                f'the front was searched for another network: a member has '
                f'{found} there and {own} in this one'
            )
    return front


def cost_of(
    model: Any,
    kind: str,
    count: str = 'exact',
    part: str = 'total',
    table: LatencyTable | None = None,
) -> Callable[[Subnet], float]:
    """The cost function that a kind of budget limits, see :class:`Budget`.

    Args:
        model: An elastic model.
        kind: 'macs', 'params' or 'latency'.
        count: How MACs are counted, 'exact' or 'paper'.
        part: What of the model counts; a latency is always the whole's.
        table: The latency table, for 'latency'.

    Raises:
        ValueError: If the model has no such part, or latency is asked for
            without a table.
    """
    parts = list(model.macs())
    if part not in parts:
        raise ValueError(f'part={part!r}; this model has {parts}')
    if kind == 'latency':
        if table is None:
            raise ValueError(
                'a limit in ms needs a latency table of the device '
                "(--latency-table FILE, or latency_table of a config's "
                'test_cfg or router; tools/latency.py build makes one)'
            )
        return table
    if kind == 'params':
        return lambda subnet: int(model.params(subnet)[part])
    return lambda subnet: int(model.macs(subnet, count)[part])


def costs_of(
    model: Any, table: LatencyTable | None = None
) -> dict[str, Callable[[Subnet], float]]:
    """Every cost of a whole model; the latency where there is a table."""
    kinds = [kind for kind in COSTS if kind != 'latency' or table]
    return {kind: cost_of(model, kind, table=table) for kind in kinds}


class BudgetSolver:
    """Answers budgets with subnets of a model; never one that exceeds them.

    - 'router': what the router chooses, its gates opened or shut in the order
      of how sure it is of them, then single steps, down until it fits and up
      while it does. A measured answer that fits takes the choice's place if
      it is better than those beside the choice by more than a standard error.
    - 'front': of the evaluated subnets that fit (the front, the references of
      the router, and its answers as stage 2 measured them) the best. Those
      whose accuracy lies within one standard error of the best one's count as
      equal to it, and the largest of the equals answers: what held-out data
      cannot tell apart leaves no budget unused.
    - 'uniform': the largest uniform subnet that fits.

    Where nothing of the front fits, the next that there is answers.

    Args:
        model: An elastic model.
        count: How budgets count MACs, 'exact' or 'paper'.
        part: What of the model budgets limit; a latency is the whole's.
            Default: the part that the router learnt, else 'total'.
        table: The latency table, or its file, for budgets in milliseconds.
        front: A front, or its file, in place of the one that a checkpoint
            has beside the router; before stage 2 there is none.

    Raises:
        ValueError: If the model has no such part, or a file is not of it.
    """

    def __init__(
        self,
        model: Any,
        count: str = 'exact',
        part: str | None = None,
        table: LatencyTable | str | Path | None = None,
        front: ParetoFront | str | Path | None = None,
    ) -> None:
        default = model.router.part if model.router else 'total'
        self.count, self.part = count, part or default
        cost_of(model, 'macs', count, self.part)  # names one not there
        self.model = model
        self.space = model.backbone.space
        self.table = table_for(model, table)
        self._given = front_for(model, front)
        learnt = model.router and model.router.latency_setting
        if learnt and self.table:
            self._compare(learnt)
        # Read when a budget first asks for their kind.
        self._tables: dict[str, CostTable] = {}
        self._is_told = False  # of a router of another part

    def _compare(self, learnt: Mapping[str, Any]) -> None:
        """Warns if the router learnt the times of something else."""
        assert self.table is not None
        now = self.table.setting
        differ = [key for key in now if learnt[key] != now[key]]
        if differ:
            there, here = ({k: of[k] for k in differ} for of in (learnt, now))
            _warn(
                f'latency_table: the router was trained with a table of '
                f'{there}, this one is of {here}: its answers keep the '
                "budgets, those of by='front' may be better"
            )

    def __call__(
        self, budgets: Sequence[Budget], by: str | None = None
    ) -> Subnet:
        """The subnet for one budget, or several; see :meth:`answer`."""
        return self.answer(budgets, by)[0]

    def answer(
        self, budgets: Sequence[Budget], by: str | None = None
    ) -> tuple[Subnet, str]:
        """The subnet for one budget, or several at once, and who gave it.

        Args:
            budgets: Limits that all hold; a share is one of the MACs.
            by: 'router', 'front' or 'uniform'. None: the front that was given
                if there is one, else the router where there is a trained
                one, else the front beside it, else the uniform networks.

        Raises:
            UnreachableError: If nothing fits; gives the reachable range.
            ValueError: If ``by`` is none of these, or not there.
        """
        self.check_source(by)
        limits, there = self.limits(budgets), self._sources()
        order = [by, *there] if by else there
        found = ((there[source](limits), source) for source in order)
        return next((s, source) for s, source in found if s is not None)

    # Sources

    @property
    def front(self) -> ParetoFront | None:
        """The one that was given, else the one beside the router.

        With all the subnets that stage 2 measured, if it did; of the router's
        answers, which limits of a search do not bind, those within them.
        """
        router = self.model.router
        own = None if router is None else router.front
        front = self._given or own
        if front is None or front != own or not router.evaluated.get('front'):
            return front
        answers = filter(front.allows, router.evaluated.get('router', ()))
        return replace(
            front,
            members=(*router.evaluated['front'], *answers),
            references=(),
            samples=router.samples or front.samples,
        )

    def _sources(self) -> dict[str, Callable[[Limits], Subnet | None]]:
        """Who is there to answer, and how; the first does by default."""
        router = self.model.router
        is_trained = router is not None and router.is_ready
        order = (
            ('front', self._of_front, self._given is not None),
            ('router', self._of_router, is_trained),
            ('front', self._of_front, self.front is not None),
            ('uniform', self._uniform, True),
        )
        return {name: answer for name, answer, is_there in order if is_there}

    def check_source(self, by: str | None) -> None:
        """Raises ``ValueError`` unless who is to answer is there."""
        if by not in (None, *(there := self._sources())):
            raise ValueError(
                f'by={by!r}; must be one of {list(there)}: a router comes '
                'with a checkpoint of stage 2, a front with that, or by '
                'front=FILE (--front)'
            )

    # Limits

    def cost(self, kind: str) -> Callable[[Subnet], float]:
        """The cost that a kind of budget limits."""
        return cost_of(self.model, kind, self.count, self.part, self.table)

    def part_of(self, kind: str) -> str:
        """What a kind of budget limits."""
        return 'total' if kind == 'latency' else self.part

    def limits(self, budgets: Sequence[Budget]) -> dict[str, float]:
        """Kind of cost to the most of it.

        Raises:
            ValueError: If a budget cannot be reached.
        """
        limits: dict[str, float] = {}
        for budget in budgets:
            kind = 'macs' if budget.kind == 'share' else budget.kind
            table = self._table(kind)
            limit = float(budget.value)
            if budget.kind == 'share':
                limit = limit_of(limit, table.largest)
            self._check_reachable(budget, limit, table)
            limits[kind] = min(limit, limits.get(kind, limit))
        return limits

    def _check_reachable(
        self, budget: Budget, limit: float, table: CostTable
    ) -> None:
        part, unit = self.part_of(budget.kind), _UNITS.get(budget.kind, 'MACs')
        if not table.largest:
            raise ValueError(
                f'budget {budget.text}: count={self.count!r} leaves out the '
                f'{part}, which costs nothing then'
            )
        if table.lowest > limit:
            asked = f'budget {budget.text}: {shown(limit)} {unit}'
            raise UnreachableError(
                out_of_reach(f'{asked} of the {part}', table, f' {unit}')
            )
        if limit > table.highest:
            _warn(
                f'budget {budget.text} is above the {part} of the '
                f'largest network, which has {shown(table.highest)} {unit}'
            )

    def use_of(self, subnet: Subnet, limits: Limits) -> float:
        """The largest share of a limit that a member of the space uses."""
        return self._walker(limits).use_of(subnet, limits)

    def _walker(self, kinds: Iterable[str]) -> Walker:
        return Walker(self.space, {kind: self._table(kind) for kind in kinds})

    def _table(self, kind: str) -> CostTable:
        """:meth:`cost` of all members, read once."""
        if kind not in self._tables:
            self._tables[kind] = CostTable(self.space, self.cost(kind))
        return self._tables[kind]

    # Answers

    def metrics_of(self, subnet: Subnet) -> Mapping[str, float]:
        """Metrics of a subnet on the held-out data; empty if not known.

        As measured after stage 2, where it was.
        """
        router, front = self.model.router, self.front
        known = [] if router is None else [*router.evaluated.values()]
        if front is not None:
            known += [front.members, front.references]
        for member in chain.from_iterable(known):
            if member.subnet == subnet:
                return member.metrics
        return {}

    def _of_front(self, limits: Limits) -> Subnet | None:
        """The largest of the best evaluated subnets that fit."""
        front = self.front
        assert front is not None
        fits = [
            (front.quality(member), member)
            for member in (*front.members, *front.references)
            if self.use_of(member.subnet, limits) <= 1
        ]
        if not fits:
            return None
        best = max(quality for quality, _ in fits)
        error = standard_error(front.metric, abs(best), front.samples)
        equals = [m for quality, m in fits if quality >= best - error]
        answer = max(
            equals, key=lambda m: (self.use_of(m.subnet, limits), m.macs)
        )
        return answer.subnet

    def _of_router(self, limits: Limits) -> Subnet:
        """The router's choice, or a measured one that fits and is better.

        Nothing in its training makes choices better from budget to budget.
        How good one is, its neighbours by MACs say that stage 2 measured.
        """
        choice, router = self.route(limits), self.model.router
        measured = router.evaluated.get('router')
        if not measured:
            return choice
        quality, metric = router.front.quality, router.front.metric
        known = sorted((m.macs, quality(m)) for m in measured)
        macs = int(self.model.macs(choice)['total'])
        expected = float(np.interp(macs, *np.transpose(known)))
        fits = [m for m in measured if self.use_of(m.subnet, limits) <= 1]
        if not fits:
            return choice
        best = max(fits, key=lambda m: (quality(m), m.macs))
        # Without a known error nothing is known to be better.
        error = standard_error(metric, best.metrics[metric], router.samples)
        is_better = 0 < error < quality(best) - expected
        return best.subnet if is_better else choice

    def route(self, limits: Limits) -> Subnet:
        """The router's choice, made to fit and widened.

        Raises:
            ValueError: If no subnet was found within the limits.
        """
        router, walker = self.model.router, self._walker(limits)
        is_other = self.part != router.part and {*limits} != {'latency'}
        if is_other and not self._is_told:
            self._is_told = True
            _warn(
                f'budgets limit the {self.part}; the router was trained '
                f'for those of part={router.part!r} (--part)'
            )
        known = set(router.kinds) & set(limits)
        if (self.part, self.count) != (router.part, 'exact'):
            known &= {'latency'}  # which is always the whole network's
        shares = [
            limits[k] / self._table(k).largest if k in known else 1.0
            for k in router.kinds
        ]
        if not known:
            # Its own budgets from low to high: the last choice that fits.
            smaller = _up_to(shares)
            for own, choice in zip(
                smaller, router.subnets(smaller), strict=True
            ):
                if walker.use_of(choice, limits) <= 1:
                    shares = own
        nested = router.nested(shares)
        start = walker.fullest(nested, limits)
        if start is None or walker.use_of(start, limits) < USED:
            # Nested subnets jump, as between two embedding widths: of its
            # choices for smaller budgets one may use more.
            choices = (*nested, *router.subnets(_up_to(shares)))
            start = walker.fullest(choices, limits) or nested[0]
        return self._fit(start, limits)

    def _uniform(self, limits: Limits) -> Subnet:
        """The largest uniform subnet; if none fits, one with branches off."""
        ladder = self.space.uniform_ladder
        fits = [s for s in ladder if self.use_of(s, limits) <= 1]
        return fits[-1] if fits else self._fit(ladder[0], limits)

    def _fit(self, subnet: Subnet, limits: Limits) -> Subnet:
        found = self._walker(limits).fit(subnet, limits)
        if found is not None:
            return found
        asked = []
        for kind, limit in limits.items():
            table, unit = self._table(kind), _UNITS.get(kind, 'MACs')
            ends = f'{shown(table.lowest)} to {shown(table.highest)}'
            asked.append(f'{shown(limit)} {unit} (reachable are {ends})')
        raise UnreachableError(
            f'no subnet is within all budgets at once: {" and ".join(asked)}'
        )


def _warn(text: str) -> None:
    print_log(text, 'current', logging.WARNING)


def _up_to(shares: Sequence[float]) -> list[list[float]]:
    """Budgets of the router up to some, from low to high."""
    budgets: list[list[float]] = np.outer(
        np.linspace(0, 1, _SWEEP), shares
    ).tolist()
    return budgets
