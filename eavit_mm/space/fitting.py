"""Bringing a subnet within its budgets, and up to them."""

from collections.abc import Iterator, Mapping, Sequence

from eavit_mm.space.cells import EMBED, Decisions
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.program import COST_GAP, MemberProgram
from eavit_mm.space.search_space import SearchSpace
from eavit_mm.space.subnet import Subnet

# Of a budget, below which another embedding width is tried.
USED = 0.95


class Fitter:
    """Changes a subnet, as little as it can, until it fits its budgets.

    Repairs down until it fits, then up by the smallest step while it still
    fits. Steps are single choices of a cell, or a branch on or off.

    Args:
        space: Of the subnets.
        tables: Of each kind of cost that may be limited.

    Example:
        >>> fitter = Fitter(space, dict(macs=CostTable(space, macs)))
        >>> fitter(subnet, dict(macs=8e9))
    """

    def __init__(
        self, space: SearchSpace, tables: Mapping[str, CostTable]
    ) -> None:
        self.space = space
        self.tables = tables
        (self._embed,) = (
            i for i, cell in enumerate(space.cells) if EMBED in cell.axes
        )

    def __call__(
        self, subnet: Subnet, limits: Mapping[str, float]
    ) -> Subnet | None:
        """The subnet near to a given one that uses its budgets.

        Args:
            subnet: A member of the space.
            limits: Kind of cost to the most of it; at least one.

        Returns:
            A member within all limits; None if none was found: of one limit
            there is none then, and of several hardly ever. Steps from the
            given one, at its embedding width or else at the nearest, find
            most. Where they use less than 95 % of every budget, it is a
            near member that uses as much of one, or the one that uses
            most.
        """
        found: dict[Decisions, float] = {}
        for state in self._ways(self.space.decisions(subnet), limits):
            found[state] = self._load(state, limits)
            if found[state] >= USED:
                break
        if not found:
            return None
        return self._subnet(max(found, key=found.__getitem__))

    def _ways(
        self, start: Decisions, limits: Mapping[str, float]
    ) -> Iterator[Decisions]:
        """States within the limits, from the nearest to any that there is."""
        near = [start, *self._other_widths(start)]
        yield from self._filled(near, limits)
        for state in self._solved(near, limits):
            yield from self._filled([state], limits)
            # Where costs fall as widths rise, it uses less when filled.
            if self._load(state, limits) <= 1:
                yield state

    def _solved(
        self, near: Sequence[Decisions], limits: Mapping[str, float]
    ) -> Iterator[Decisions]:
        """Those that use enough, or else the most, of each limit."""
        rest = []
        for state in near:
            width = state.indices[self._embed]
            program = MemberProgram(self.space, width, self.tables, limits)
            for kind in limits:
                full = program.fullest(kind)
                if full is None:
                    continue
                found = None
                if self._load(full, limits) >= USED - COST_GAP:
                    found = program.nearest(state, kind, USED)
                if found is None:
                    rest.append(full)
                else:
                    yield found
        yield from rest
        for kind in limits:  # exact: one limit that can be kept is kept
            yield self.space.decisions(self.tables[kind].cheapest)

    def _filled(
        self, starts: Sequence[Decisions], limits: Mapping[str, float]
    ) -> Iterator[Decisions]:
        """What :meth:`_fill` makes of states, where it finds something."""
        for start in starts:
            if (state := self._fill(start, limits)) is not None:
                yield state

    def _fill(
        self, state: Decisions, limits: Mapping[str, float]
    ) -> Decisions | None:
        """Down until it fits, then up while it does."""
        load = self._load(state, limits)
        while load > 1:
            lower = self._loads(self._down(state), limits)
            lower = {s: v for s, v in lower.items() if v < load}
            if not lower:
                return None
            fits = {s: v for s, v in lower.items() if v <= 1}
            state = max(fits or lower, key=(fits or lower).__getitem__)
            load = lower[state]
        while True:
            higher = self._loads(self._up(state), limits)
            higher = {s: v for s, v in higher.items() if v <= 1}
            if not higher:
                return state
            state = min(higher, key=higher.__getitem__)

    def _loads(
        self, states: Iterator[Decisions], limits: Mapping[str, float]
    ) -> dict[Decisions, float]:
        return {state: self._load(state, limits) for state in states}

    def _load(self, state: Decisions, limits: Mapping[str, float]) -> float:
        """Largest share of a limit that is used; above 1 it does not fit."""
        return max(
            self.tables[kind].of(*state) / limit
            for kind, limit in limits.items()
        )

    def _down(self, state: Decisions) -> Iterator[Decisions]:
        """States of the same embedding width one step away, or below."""
        for number, index in enumerate(state.indices):
            if index and EMBED not in self.space.cells[number].axes:
                yield self._with_index(state, number, index - 1)
        # Of equals those of the last layers go: least is built on them.
        on = [b for b in self.space.branches[::-1] if b not in state.off]
        if len(state.off) < self.space.max_off:
            for branch in on:
                yield state._replace(off=state.off | {branch})
            return
        # All that may be off are: others instead of them.
        for branch in on:
            for other in sorted(state.off):
                yield state._replace(off=state.off - {other} | {branch})

    def _up(self, state: Decisions) -> Iterator[Decisions]:
        """States one step above."""
        for number, cell in enumerate(self.space.cells):
            # A width that nothing runs at is no step.
            is_open = EMBED in cell.axes or set(cell.branches) - state.off
            index = state.indices[number]
            if is_open and index + 1 < cell.num_choices:
                yield self._with_index(state, number, index + 1)
        # In a fixed order: that of a set differs between processes.
        for branch in filter(state.off.__contains__, self.space.branches):
            yield state._replace(off=state.off - {branch})

    def _with_index(
        self, state: Decisions, number: int, index: int
    ) -> Decisions:
        before, after = state.indices[:number], state.indices[number + 1 :]
        return state._replace(indices=(*before, index, *after))

    def _other_widths(self, state: Decisions) -> Iterator[Decisions]:
        """The state at all other embedding widths, the nearest first."""
        own = state.indices[self._embed]
        others: Sequence[int] = sorted(
            set(range(self.space.cells[self._embed].num_choices)) - {own},
            key=lambda index: abs(index - own),
        )
        for index in others:
            yield self._with_index(state, self._embed, index)

    def _subnet(self, state: Decisions) -> Subnet:
        return self.space.build(state.indices, state.off)
