"""Members within limits as integer programs, which scipy's HiGHS solves."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import LinearConstraint, milp

from eavit_mm.space.cells import EMBED
from eavit_mm.space.cost_table import Branch, CostTable
from eavit_mm.space.search_space import SearchSpace

# Of the rows of loads: the solver's tolerance, 1e-6, is far below what any
# branch costs then.
_SCALE = 1000.0
# Where devices care little for widths, to prove that nothing is better takes
# long: what was found after so many nodes, or so near to the best, counts.
_OPTIONS = dict(node_limit=200, mip_rel_gap=0.005)


class Decisions(NamedTuple):
    """A subnet as decisions: an index per cell, and the branches off."""

    indices: tuple[int, ...]
    off: frozenset[Branch]


class MemberProgram:
    """All members of one embedding width, within limits.

    Unknowns are 0 or 1: which index a cell has, and at which index a branch
    is on. What adds up over the branches, as every cost here does, is linear
    in them.

    Args:
        space: Of the members.
        embed: Index of the embedding width.
        tables: Of the kinds of cost that are limited.
        limits: Kind of cost to the most of it.
    """

    def __init__(
        self,
        space: SearchSpace,
        embed: int,
        tables: Mapping[str, CostTable],
        limits: Mapping[str, float],
    ) -> None:
        self.space, self.embed = space, embed
        self.chosen = [
            (cell, index)
            for cell in range(len(space.cells))
            for index in self._indices(cell)
        ]
        self.on = [
            (branch, index)
            for cell, index in self.chosen
            for branch in space.cells[cell].branches
        ]
        self.stems = {k: tables[k].stem[embed] / limits[k] for k in limits}
        self.loads = {
            kind: np.array(
                [tables[kind].branches[b][embed, i] for b, i in self.on]
            )
            / limit
            for kind, limit in limits.items()
        }

    def nearest(
        self, start: Decisions, kind: str, least: float
    ) -> Decisions | None:
        """The member nearest to a start that uses at least so much.

        Args:
            start: Decisions of a member. Near are few steps of its widths,
                and few branches between on and off.
            kind: Of the limits, the one to be used.
            least: Share of it.

        Returns:
            None if there is none.
        """
        return self._solved(self._changes(start), kind, least)

    def fullest(self, kind: str) -> Decisions | None:
        """The member that uses most of a limit; None if none keeps them all.

        Up to half a per cent.
        """
        return self._solved(-self.loads[kind], kind, -np.inf)

    def _indices(self, cell: int) -> Sequence[int]:
        """What a cell may be."""
        found = self.space.cells[cell]
        return (
            [self.embed] if EMBED in found.axes else range(found.num_choices)
        )

    def _changes(self, start: Decisions) -> np.ndarray:
        """(branches on): what it adds to a member's distance to be on."""
        of_branch = {
            branch: (cell, index)
            for cell, index in zip(
                self.space.cells, start.indices, strict=True
            )
            for branch in cell.branches
        }
        found = []
        for branch, index in self.on:
            cell, own = of_branch[branch]
            # To be switched counts as much as all steps of a width.
            is_on = branch not in start.off
            steps = abs(index - own) / cell.num_choices if is_on else 0.0
            found.append(steps - 1 if is_on else 1.0)
        return np.array(found)

    def _solved(
        self, costs: np.ndarray, kind: str, least: float
    ) -> Decisions | None:
        """The member of least cost, a sum over the branches on."""
        unused = np.zeros(len(self.chosen))
        found = milp(
            np.concatenate([unused, costs]),
            integrality=1,
            bounds=(0, 1),
            constraints=[*self._structure(), *self._limits(kind, least)],
            options=_OPTIONS,
        )
        return None if found.x is None else self._read(found.x.round())

    def _structure(self) -> Iterator[LinearConstraint]:
        """Members: an index per cell, branches on at it, few off."""
        columns = len(self.chosen) + len(self.on)
        first = {pair: i for i, pair in enumerate(self.chosen)}
        cells = np.zeros((len(self.space.cells), columns))
        for (cell, _), column in first.items():
            cells[cell, column] = 1
        yield LinearConstraint(cells, 1, 1)
        at = np.zeros((len(self.on), columns))
        of_branch = {
            branch: number
            for number, cell in enumerate(self.space.cells)
            for branch in cell.branches
        }
        for row, (branch, index) in enumerate(self.on):
            at[row, len(self.chosen) + row] = 1
            at[row, first[of_branch[branch], index]] = -1
        yield LinearConstraint(at, -np.inf, 0)
        number = np.zeros((1, columns))
        number[0, len(self.chosen) :] = 1
        fewest = len(self.space.branches) - self.space.max_off
        yield LinearConstraint(number, fewest, np.inf)

    def _limits(self, kind: str, least: float) -> Iterator[LinearConstraint]:
        unused = np.zeros(len(self.chosen))
        for name, loads in self.loads.items():
            row = np.concatenate([unused, loads])
            low = least - self.stems[name] if name == kind else -np.inf
            high = 1 - self.stems[name]
            yield LinearConstraint(_SCALE * row, _SCALE * low, _SCALE * high)

    def _read(self, values: np.ndarray) -> Decisions:
        chosen, on = np.split(values, [len(self.chosen)])
        indices = {
            cell: index
            for (cell, index), value in zip(self.chosen, chosen, strict=True)
            if value
        }
        open_ = {
            branch
            for (branch, _), value in zip(self.on, on, strict=True)
            if value
        }
        off = frozenset(self.space.branches) - open_
        return Decisions(
            tuple(indices[cell] for cell in range(len(indices))), off
        )
