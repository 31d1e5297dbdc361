"""Members within limits as integer programs, which scipy's HiGHS solves."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import LinearConstraint, milp

from eavit_mm.space.cells import EMBED, Branch, Decisions
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.search_space import SearchSpace

# Of the rows of loads: the solver's tolerance, 1e-6, is far below what any
# branch costs then.
_SCALE = 1000.0
# Nodes of a search; what was found until then counts.
_NODES = 200
# How near to the best an answer must be: in cost, and in distance, which is a
# matter of taste.
COST_GAP = 0.005
_DISTANCE_GAP = 0.1

# Branches that cost the same at every width.
Group = tuple[Branch, ...]


class MemberProgram:
    """All members of one embedding width, within limits.

    Unknowns are which index a cell of several branches has, and how many
    branches of a group are on at which index. What adds up over the branches,
    as every cost here does, is linear in them.

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
        self._cells = {
            branch: number
            for number, cell in enumerate(space.cells)
            for branch in cell.branches
        }
        # (cell, index) of those whose branches have it in common.
        self._common = [
            (number, index)
            for number, cell in enumerate(space.cells)
            if len(cell.branches) > 1
            for index in self._indices(number)
        ]
        self._stems = {k: tables[k].stem[embed] / limits[k] for k in limits}
        self._loads = {
            kind: {
                branch: values[embed] / limit
                for branch, values in tables[kind].branches.items()
            }
            for kind, limit in limits.items()
        }

    def fullest(self, kind: str) -> Decisions | None:
        """The member that uses most of a limit, up to half a per cent.

        Args:
            kind: The limit's.

        Returns:
            None if no member was found that keeps them all.
        """
        loads = self._loads[kind]
        groups = self._alike()
        costs = [-loads[group[0]] for group in groups]
        return self._solved(groups, costs, kind, -np.inf, COST_GAP)

    def nearest(
        self, start: Decisions, kind: str, least: float
    ) -> Decisions | None:
        """A member near to a start that uses at least so much.

        Args:
            start: Decisions of a member. Near are few steps of its widths,
                and few branches between on and off.
            kind: Of the limits, the one to be used.
            least: Share of it.

        Returns:
            None if none was found.
        """
        groups = [(branch,) for branch in self.space.branches]
        changes = [self._changes(start, branch) for (branch,) in groups]
        return self._solved(groups, changes, kind, least, _DISTANCE_GAP)

    def _indices(self, number: int) -> Sequence[int]:
        """What a cell may be."""
        cell = self.space.cells[number]
        return [self.embed] if EMBED in cell.axes else range(cell.num_choices)

    def _alike(self) -> list[Group]:
        """Groups as large as possible.

        Which of many equal layers is which makes programs very slow.
        """
        found: dict[object, list[Branch]] = {}
        for branch, number in self._cells.items():
            key: object = branch
            if len(self.space.cells[number].branches) == 1:
                key = tuple(
                    tuple(loads[branch]) for loads in self._loads.values()
                )
            found.setdefault(key, []).append(branch)
        return [tuple(group) for group in found.values()]

    def _changes(self, start: Decisions, branch: Branch) -> np.ndarray:
        """(indices): what it adds to the distance to be on there."""
        number = self._cells[branch]
        choices = self.space.cells[number].num_choices
        if branch in start.off:
            return np.ones(choices)
        # To be switched counts as much as all steps of a width.
        steps = np.abs(np.arange(choices) - start.indices[number])
        return steps / choices - 1.0

    def _solved(
        self,
        groups: Sequence[Group],
        costs: Sequence[np.ndarray],
        kind: str,
        least: float,
        gap: float,
    ) -> Decisions | None:
        """The member of least cost.

        Args:
            groups: All branches.
            costs: Of each group: (indices), of a branch that is on there.
            kind: The limit to be used.
            least: Share of it.
            gap: Relative to the least cost, how far off an answer may be.
        """
        on = [
            (number, index)
            for number, group in enumerate(groups)
            for index in self._indices(self._cells[group[0]])
        ]
        unused = np.zeros(len(self._common))
        found = milp(
            np.concatenate([unused, [costs[n][i] for n, i in on]]),
            integrality=1,
            bounds=(0, [1] * len(unused) + [len(groups[n]) for n, _ in on]),
            constraints=[
                *self._structure(groups, on),
                *self._limits(groups, on, kind, least),
            ],
            options=dict(node_limit=_NODES, mip_rel_gap=gap),
        )
        if found.x is None:
            return None
        common, counts = np.split(found.x.round().astype(int), [len(unused)])
        return self._read(groups, on, common, counts)

    def _structure(
        self, groups: Sequence[Group], on: Sequence[tuple[int, int]]
    ) -> list[LinearConstraint]:
        """An index per cell and branch, and few branches off."""
        before, width = len(self._common), len(self._common) + len(on)
        chosen = np.zeros((len(self.space.cells), width))
        places = {pair: column for column, pair in enumerate(self._common)}
        for (cell, _), column in places.items():
            chosen[cell, column] = 1
        used = np.zeros((len(groups), width))
        common = [np.zeros(width)]  # of no unknowns, so that there is one
        for column, (number, index) in enumerate(on, before):
            used[number, column] = 1
            place = places.get((self._cells[groups[number][0]], index))
            if place is not None:
                row = np.zeros(width)
                row[column], row[place] = 1, -1
                common.append(row)
        needed = chosen.any(1).astype(float)
        fewest = len(self.space.branches) - self.space.max_off
        return [
            LinearConstraint(chosen, needed, needed),
            LinearConstraint(used, 0, [len(group) for group in groups]),
            LinearConstraint(np.array(common), -np.inf, 0),
            LinearConstraint(used.sum(0), fewest, np.inf),
        ]

    def _limits(
        self,
        groups: Sequence[Group],
        on: Sequence[tuple[int, int]],
        kind: str,
        least: float,
    ) -> list[LinearConstraint]:
        """All limits are kept, and one is used."""
        unused = np.zeros(len(self._common))
        found = []
        for name, loads in self._loads.items():
            row = np.array([loads[groups[n][0]][i] for n, i in on])
            low = least - self._stems[name] if name == kind else -np.inf
            high = 1 - self._stems[name]
            row = _SCALE * np.concatenate([unused, row])
            found.append(LinearConstraint(row, _SCALE * low, _SCALE * high))
        return found

    def _read(
        self,
        groups: Sequence[Group],
        on: Sequence[tuple[int, int]],
        common: np.ndarray,
        counts: np.ndarray,
    ) -> Decisions:
        """What the unknowns say; of a group the last layers are off."""
        indices = [0] * len(self.space.cells)
        for (place, index), value in zip(self._common, common, strict=True):
            if value:
                indices[place] = index
        waiting = [list(group) for group in groups]
        for (number, index), count in zip(on, counts, strict=True):
            for branch in waiting[number][:count]:
                indices[self._cells[branch]] = index
            del waiting[number][:count]
        for number, cell in enumerate(self.space.cells):
            if EMBED in cell.axes:
                indices[number] = self.embed
        off = frozenset(branch for group in waiting for branch in group)
        return Decisions(tuple(indices), off)
