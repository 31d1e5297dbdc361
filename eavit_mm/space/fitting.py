"""The walker, which moves a subnet until its costs meet limits.

Steps are single: a choice of a cell, or a branch on or off. Greedy steps are
enough: an integer program gave no better answers.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from eavit_mm.space.cells import Branch, Decisions
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.search_space import SearchSpace
from eavit_mm.space.subnet import Subnet

# Share of a budget below which another embedding width is tried.
USED = 0.95
# Index of the cell of the embedding width.
_EMBED = 0

Limits = Mapping[str, float]
Range = tuple[float | None, float | None]
Ranges = Mapping[str, Range]


class Position(NamedTuple):
    """Where a walk is; costs are shares of the largest subnet's."""

    state: Decisions
    costs: tuple[float, ...]  # of each limited kind
    excess: float  # by how much it misses the ranges; 0: it is inside


class Walker:
    """Moves members of a space by single steps.

    Args:
        space: The space that it stays in.
        tables: The cost table of each kind of cost that may be limited.

    Example:
        >>> walker = Walker(space, dict(macs=CostTable(space, macs)))
        >>> walker.fit(subnet, dict(macs=8e9))
        >>> walker.reach([subnet], dict(macs=(7e9, 8e9)))
    """

    def __init__(
        self, space: SearchSpace, tables: Mapping[str, CostTable]
    ) -> None:
        self.space = space
        self.tables = tables

    # Limits from above

    def fit(self, subnet: Subnet, limits: Limits) -> Subnet | None:
        """A member near to a given one that keeps budgets and uses them.

        Steps down, the smallest first, until it fits, then up while it still
        fits. Where that uses less than 95 % of every budget, it begins again
        at the other embedding widths, the nearest first, and at last from the
        cheapest members; the one that uses most is the answer.

        Args:
            subnet: The member to begin with.
            limits: Kind of cost to the most of it; at least one.

        Returns:
            None if no member was found within the limits. One limit that any
            member keeps is always kept.
        """
        ranges = {kind: (None, limit) for kind, limit in limits.items()}
        best, most = None, 0.0
        for place in self._ends(subnet, ranges, None):
            if place.excess:
                continue
            found = self._widen(place, ranges)
            used = self.use_of(found, limits)
            if best is None or used > most:
                best, most = found, used
            if most >= USED:
                break
        return best

    def _widen(self, place: Position, ranges: Ranges) -> Subnet:
        """Takes the smallest step up for as long as one stays inside."""
        step: Position | None = place
        while step is not None:
            place = step
            steps = (self._place(s, ranges) for s in self._wider(place.state))
            inside = (step for step in steps if not step.excess)
            step = min(inside, key=lambda step: sum(step.costs), default=None)
        return self.space.build(*place.state)

    def fullest(
        self, subnets: Iterable[Subnet], limits: Limits
    ) -> Subnet | None:
        """Of members that fit the one that uses most; None if none fits."""
        used = {subnet: self.use_of(subnet, limits) for subnet in subnets}
        fits = [subnet for subnet, share in used.items() if share <= 1]
        return max(fits, key=used.__getitem__, default=None)

    def use_of(self, subnet: Subnet, limits: Limits) -> float:
        """The largest share of a limit that a member uses.

        Above 1 it does not fit.
        """
        return max(
            self.tables[kind].of_subnet(subnet) / limit
            for kind, limit in limits.items()
        )

    # Limits from both sides

    def reach(
        self,
        starts: Iterable[Subnet],
        ranges: Ranges,
        rng: np.random.Generator | None = None,
    ) -> Subnet:
        """A member whose costs lie in ranges, else the one that comes nearest.

        Args:
            starts: Members to begin with, the first one first.
            ranges: Kind of cost to the least and the most of it, None for no
                limit.
            rng: Draws which steps are taken; None: always the smallest that
                helps.
        """
        ends = (self._ends(start, ranges, rng) for start in starts)
        best: Position | None = None
        for place in chain.from_iterable(ends):
            if best is None or place.excess < best.excess:
                best = place
            if not best.excess:
                break
        assert best is not None, 'there is a start'
        return self.space.build(*best.state)

    def approach(
        self,
        subnet: Subnet,
        ranges: Ranges,
        rng: np.random.Generator | None = None,
        switches: bool = True,
    ) -> Subnet:
        """Steps towards ranges at a member's own embedding width.

        Ends inside, or where no single step brings it nearer. Arguments as of
        :meth:`reach`; ``switches``: branches may go on and off, too.
        """
        place = self._walk(self.space.decisions(subnet), ranges, rng, switches)
        return self.space.build(*place.state)

    def excess(self, subnet: Subnet, ranges: Ranges) -> float:
        """By how much a member misses ranges; 0: it lies inside.

        A sum of shares of the largest subnet's costs.
        """
        return self._place(self.space.decisions(subnet), ranges).excess

    def _ends(
        self,
        subnet: Subnet,
        ranges: Ranges,
        rng: np.random.Generator | None,
    ) -> Iterator[Position]:
        """Where walks end that begin near a member, then further away."""
        start = self.space.decisions(subnet)
        own = start.indices[_EMBED]
        widths = range(self.space.cells[_EMBED].num_choices)
        for index in sorted(widths, key=lambda index: abs(index - own)):
            state = with_index(start, _EMBED, index)
            yield self._walk(state, ranges, rng)
        # One of the ends of the space keeps any single limit. Measured times
        # fall here and there as widths rise, so steps may get stuck before.
        for kind, (low, high) in ranges.items():
            table = self.tables[kind]
            ends = [table.cheapest] if high is not None else []
            ends += [table.dearest] if low is not None else []
            for end in ends:
                yield self._walk(self.space.decisions(end), ranges, rng)

    def _walk(
        self,
        state: Decisions,
        ranges: Ranges,
        rng: np.random.Generator | None,
        switches: bool = True,
    ) -> Position:
        place = self._place(state, ranges)
        while place.excess:
            states = list(self._around(place.state, switches))
            if rng is not None:
                states = [states[i] for i in rng.permutation(len(states))]
            places = (self._place(state, ranges) for state in states)
            better = (p for p in places if p.excess < place.excess)
            # A drawn step is the first that helps.
            if rng is None:
                size = partial(self.size_of_step, place)
                step = min(better, key=size, default=None)
            else:
                step = next(better, None)
            if step is None:
                break
            place = step
        return place

    def _place(self, state: Decisions, ranges: Ranges) -> Position:
        costs, excess = [], 0.0
        for kind, (low, high) in ranges.items():
            table = self.tables[kind]
            cost = table.of(*state)
            costs.append(cost / table.largest)
            if high is not None and cost > high:
                excess += (cost - high) / table.largest
            elif low is not None and cost < low:
                excess += (low - cost) / table.largest
        return Position(state, tuple(costs), excess)

    # Steps

    def size_of_step(self, place: Position, step: Position) -> Any:
        """What is least of the step to take, unless steps are drawn.

        Here of the smallest that ends inside, else of the smallest of all.
        """
        pairs = zip(place.costs, step.costs, strict=True)
        size = sum(abs(after - before) for before, after in pairs)
        return step.excess > 0, size

    def _around(self, state: Decisions, switches: bool) -> Iterator[Decisions]:
        """States of the same embedding width, one step away."""
        for number, cell in enumerate(self.space.cells):
            index = state.indices[number]
            for other in (index - 1, index + 1):
                if number != _EMBED and 0 <= other < cell.num_choices:
                    yield with_index(state, number, other)
        if switches:
            yield from self._switch_off(state)

    def _switch_off(self, state: Decisions) -> Iterator[Decisions]:
        """States with other branches off."""
        for branch in self._off(state):
            yield state._replace(off=state.off - {branch})
        # Among equals the branches of the last layers go off first.
        on = [b for b in self.space.branches[::-1] if b not in state.off]
        if len(state.off) < self.space.max_off:
            for branch in on:
                yield state._replace(off=state.off | {branch})
            return
        # As many are off as may be: others instead of them.
        for branch in on:
            for other in self._off(state):
                yield state._replace(off=state.off - {other} | {branch})

    def _wider(self, state: Decisions) -> Iterator[Decisions]:
        """States one step above."""
        for number, cell in enumerate(self.space.cells):
            # A width that nothing runs at is no step.
            is_open = cell.is_whole or set(cell.branches) - state.off
            index = state.indices[number]
            if is_open and index + 1 < cell.num_choices:
                yield with_index(state, number, index + 1)
        for branch in self._off(state):
            yield state._replace(off=state.off - {branch})

    def _off(self, state: Decisions) -> list[Branch]:
        """What is off, in a fixed order: a set's differs between processes."""
        return [b for b in self.space.branches if b in state.off]


def out_of_reach(asked: str, table: CostTable, unit: str = '') -> str:
    """What to say of an asked limit that no member of a space keeps."""
    low, high = table.lowest, table.highest
    return (
        f'{asked} cannot be reached; this space reaches {shown(low)} to '
        f'{shown(high)}{unit} ({low / high:.1%} to 100 %)'
    )


def shown(value: float | None) -> str:
    """A value or limit in a message; 'any' for no limit."""
    if value is None:
        return 'any'
    return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.6g}'


def with_index(state: Decisions, number: int, index: int) -> Decisions:
    """Decisions with another choice of one cell."""
    before, after = state.indices[:number], state.indices[number + 1 :]
    return state._replace(indices=(*before, index, *after))
