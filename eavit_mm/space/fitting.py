"""Bringing a subnet within its budgets, and up to them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from eavit_mm.space.cells import EMBED
from eavit_mm.space.cost_table import Branch, CostTable
from eavit_mm.space.search_space import SearchSpace
from eavit_mm.space.subnet import Subnet

# Of a budget, below which another embedding width is tried.
USED = 0.95
# Of a space, combinations of widths that are tried one by one then.
_FEW = 512
# Of a search for a member that keeps several limits: rounds, how fast weights
# follow the loads, and what sums of weighted loads may be off by.
_ROUNDS = 20
_PACE = 4.0
_ROUNDING = 1e-9


class _State(NamedTuple):
    """A subnet as decisions: an index per cell, and the branches off."""

    indices: tuple[int, ...]
    off: frozenset[Branch]


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

    def __call__(
        self, subnet: Subnet, limits: Mapping[str, float]
    ) -> Subnet | None:
        """The subnet near to a given one that uses its budgets.

        Args:
            subnet: A member of the space.
            limits: Kind of cost to the most of it; at least one.

        Returns:
            A member within all limits; the embedding width is another one
            only where less than 95 % of a budget could be used otherwise.
            None if no member was found within them: of one limit there is
            none then; of several there may be one that only just keeps them.
        """
        found: dict[_State, float] = {}
        for state in self._ways(self._state(subnet), limits):
            found[state] = self._load(state, limits)
            if found[state] >= USED:
                return self._subnet(state)
        if not found:
            starts = self._balanced(limits)
            last = next(self._filled(starts, limits), None)
            return None if last is None else self._subnet(last)
        return self._subnet(max(found, key=found.__getitem__))

    def _ways(
        self, state: _State, limits: Mapping[str, float]
    ) -> Iterator[_State]:
        """States within the limits, from the nearest to any that there is."""
        near = []
        for filled in self._filled(self._starts(state, limits), limits):
            near.append(filled)
            yield filled
        yield from (self._swap(filled, limits) for filled in near)
        numbers = [range(cell.num_choices) for cell in self.space.cells]
        if prod(map(len, numbers)) <= _FEW:
            starts = (state._replace(indices=i) for i in product(*numbers))
            yield from self._filled(starts, limits)

    def _swap(self, state: _State, limits: Mapping[str, float]) -> _State:
        """A step up that does not fit, and others down, while that helps."""
        load = self._load(state, limits)
        while load < USED:
            fits = self._loads(self._filled(self._up(state), limits), limits)
            best = max(fits, key=fits.__getitem__, default=state)
            if fits.get(best, 0.0) <= load:
                break
            state, load = best, fits[best]
        return state

    def _starts(
        self, state: _State, limits: Mapping[str, float]
    ) -> Iterator[_State]:
        """Where to begin: at the subnet, if need be farther away."""
        yield state
        yield from self._other_widths(state)
        # Steps down never change which branches were off.
        for kind in limits:
            yield self._state(self.tables[kind].cheapest)

    def _balanced(self, limits: Mapping[str, float]) -> Iterator[_State]:
        """The members of least mean load, ever more of what is exceeded.

        Ends where a weighted mean of the loads is above 1 for every member:
        none keeps all limits then.
        """
        if len(limits) == 1:
            return  # its cheapest member was a start
        weights = np.full(len(limits), 1 / len(limits))
        for number in range(_ROUNDS):
            mean = self._mean_load(limits, weights)
            if mean.lowest > 1 + _ROUNDING:
                return
            state = self._state(mean.cheapest)
            yield state
            loads = np.array(
                [self._load(state, {k: limits[k]}) for k in limits]
            )
            # A load of thousands would leave nothing of the other weights.
            loads = loads.clip(max=2)
            weights = weights * np.exp(_PACE * loads / np.sqrt(1 + number))
            weights /= weights.sum()

    def _mean_load(
        self, limits: Mapping[str, float], weights: np.ndarray
    ) -> CostTable:
        """A weighted mean of the shares of the limits that are used."""
        parts = [
            (self.tables[kind], float(weight) / limits[kind])
            for kind, weight in zip(limits, weights, strict=True)
        ]
        return CostTable(
            self.space,
            lambda s: sum(
                scale * table.of_subnet(s) for table, scale in parts
            ),
        )

    def _filled(
        self, starts: Iterator[_State], limits: Mapping[str, float]
    ) -> Iterator[_State]:
        """What :meth:`_fill` makes of states, where it finds something."""
        for start in starts:
            if (state := self._fill(start, limits)) is not None:
                yield state

    def _fill(
        self, state: _State, limits: Mapping[str, float]
    ) -> _State | None:
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
        self, states: Iterator[_State], limits: Mapping[str, float]
    ) -> dict[_State, float]:
        return {state: self._load(state, limits) for state in states}

    def _load(self, state: _State, limits: Mapping[str, float]) -> float:
        """Largest share of a limit that is used; above 1 it does not fit."""
        return max(
            self.tables[kind].of(*state) / limit
            for kind, limit in limits.items()
        )

    def _down(self, state: _State) -> Iterator[_State]:
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

    def _up(self, state: _State) -> Iterator[_State]:
        """States one step above."""
        for number, cell in enumerate(self.space.cells):
            # A width that nothing runs at is no step.
            is_open = EMBED in cell.axes or set(cell.branches) - state.off
            index = state.indices[number]
            if is_open and index + 1 < cell.num_choices:
                yield self._with_index(state, number, index + 1)
        for branch in state.off:
            yield state._replace(off=state.off - {branch})

    def _with_index(self, state: _State, number: int, index: int) -> _State:
        before, after = state.indices[:number], state.indices[number + 1 :]
        return state._replace(indices=(*before, index, *after))

    def _other_widths(self, state: _State) -> Iterator[_State]:
        """The state at all other embedding widths, the nearest first."""
        (number,) = (
            i for i, c in enumerate(self.space.cells) if EMBED in c.axes
        )
        own = state.indices[number]
        others: Sequence[int] = sorted(
            set(range(self.space.cells[number].num_choices)) - {own},
            key=lambda index: abs(index - own),
        )
        for index in others:
            yield self._with_index(state, number, index)

    def _state(self, subnet: Subnet) -> _State:
        off = self.space.off_branches(subnet)
        return _State(tuple(self.space.indices(subnet)), frozenset(off))

    def _subnet(self, state: _State) -> Subnet:
        return self.space.build(state.indices, state.off)
