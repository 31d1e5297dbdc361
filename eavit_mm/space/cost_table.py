"""A cost by parts: the stem, and each branch at its two widths."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product
from operator import add, itemgetter
from typing import Any, NamedTuple

import numpy as np

from eavit_mm.space.cells import BRANCHES, Branch
from eavit_mm.space.search_space import SearchSpace
from eavit_mm.space.subnet import Subnet


class CostTable:
    """Values of a cost function for every width, read once.

    Every cost here (MACs, parameters, the latency of a table) adds up over
    the branches, in a frame: the width of the embedding and, where the space
    has a choice of it, that of the heads. So the closed forms and the latency
    table stay the only places that know it; who asks for the cost of very
    many subnets, or for one as a function of gates, looks it up here.

    Sums of integers below 2**53 are exact in any order, and so are the times
    of a :class:`LatencyTable`: all values here equal the cost's. Of any other
    cost they do so up to rounding.

    Args:
        space: The space whose members' costs are asked.
        cost: A function that adds up over the branches; it need not rise
            with every width, as measured times do not.

    Attributes:
        stem: (frames): all branches off.
        branches: (axis, layer) to (frames, choices of the branch's width):
            what the branch adds.
        largest: Cost of the largest subnet.
    """

    def __init__(
        self, space: SearchSpace, cost: Callable[[Subnet], float]
    ) -> None:
        self.space = space
        counts = [c.num_choices for c in space.cells if c.is_whole]
        narrowest = [0] * (len(space.cells) - len(counts))
        # Indices of the cells of the whole network, which come first.
        self._frames = list(product(*map(range, counts)))
        bare = [
            _lone(space.build([*frame, *narrowest])) for frame in self._frames
        ]
        self._numbers = {
            (s.embed_dims, s.head_dims): i for i, s in enumerate(bare)
        }
        self.stem = [float(cost(subnet)) for subnet in bare]
        self.branches = {
            branch: [
                [
                    float(cost(_lone(subnet, branch, width))) - alone
                    for width in space.choices(*branch)
                ]
                for subnet, alone in zip(bare, self.stem, strict=True)
            ]
            for branch in space.branches
        }
        self._places = {frame: i for i, frame in enumerate(self._frames)}
        self._counts, self._num_whole = counts, len(counts)
        self._cells = [
            [(branch, self.branches[branch]) for branch in cell.branches]
            for cell in space.cells
        ]
        self.largest = self.of_subnet(space.largest)

    def of(self, indices: Sequence[int], off: Collection[Branch]) -> float:
        """Cost of the subnet that ``space.build`` makes of the same."""
        frame = self._places[tuple(indices[: self._num_whole])]
        total = self.stem[frame]
        for index, branches in zip(indices, self._cells, strict=True):
            for branch, rows in branches:
                if branch not in off:
                    total += rows[frame][index]
        return total

    def of_rows(self, rows: np.ndarray, off: Collection[Branch]) -> np.ndarray:
        """Likewise of many, (n), from the indices of each, (n, cells)."""
        grid, cells = self._grid
        whole = rows[:, : self._num_whole].T
        frames = np.ravel_multi_index(tuple(whole), self._counts)
        on = [i for i, branch in enumerate(self.branches) if branch not in off]
        parts = grid[on][
            np.arange(len(on))[:, None], frames, rows.T[cells[on]]
        ]
        return np.array(self.stem)[frames] + parts.sum(axis=0)

    @cached_property
    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """All of ``branches``, zeros behind fewer choices; their cells."""
        most = max(len(rows[0]) for rows in self.branches.values())
        grid = np.zeros((len(self.branches), len(self.stem), most))
        for own, rows in zip(grid, self.branches.values(), strict=True):
            own[:, : len(rows[0])] = rows
        owners = {
            branch: number
            for number, cell in enumerate(self._cells)
            for branch, _ in cell
        }
        return grid, np.array([owners[branch] for branch in self.branches])

    def of_subnet(self, subnet: Subnet) -> float:
        """Cost of a member."""
        frame = self._numbers[subnet.embed_dims, subnet.head_dims]
        total = self.stem[frame]
        for branch, rows in self.branches.items():
            if width := subnet.width(*branch):
                total += rows[frame][self.space.choices(*branch).index(width)]
        return total

    def share(self, subnet: Subnet) -> float:
        """A member's cost as a share of the largest subnet's."""
        return self.of_subnet(subnet) / self.largest

    @property
    def lowest_share(self) -> float:
        """The cheapest member's cost as a share of the largest's."""
        return self.lowest / self.largest

    # The ends of the range

    @cached_property
    def cheapest(self) -> Subnet:
        """The member of least cost.

        Of equals that of the narrowest embedding, then of the fewest branches
        off, then with those of the deepest layers off. So what saves nothing
        stays on.
        """
        return self._extreme(1)

    @cached_property
    def dearest(self) -> Subnet:
        """The member of highest cost, which need not be the largest."""
        return self._extreme(-1)

    @cached_property
    def lowest(self) -> float:
        """Cost of the cheapest member."""
        return self.of_subnet(self.cheapest)

    @cached_property
    def highest(self) -> float:
        """Cost of the dearest member."""
        return self.of_subnet(self.dearest)

    def _extreme(self, sign: int) -> Subnet:
        """The member of least cost, times a sign.

        In one frame cells only share ``max_off``. So of the best
        ways to decide about the first cells, one for each number of branches
        off, follow those for one cell more.
        """
        deepest = sorted(self.space.branches, key=itemgetter(1), reverse=True)
        ranks = {branch: rank for rank, branch in enumerate(deepest)}
        ends = []
        for frame, stem in enumerate(self.stem):
            ways = [_Way(sign * stem, 0, (), ())]
            for number in range(len(self._cells)):
                further = self._ways_of(number, frame, sign, ranks)
                ways = _combine(ways, further, self.space.max_off)
            ends.append(min(ways, key=itemgetter(0)))  # the fewest off
        best = min(ends, key=itemgetter(0))  # the narrowest
        return self.space.build(best.indices, best.off)

    def _ways_of(
        self, number: int, frame: int, sign: int, ranks: dict[Branch, int]
    ) -> list['_Way']:
        """The best about one cell with 0, 1, ... of its branches off."""
        cell = self.space.cells[number]
        whole = self._frames[frame]
        is_known = number < len(whole)
        found = []
        for index in [whole[number]] if is_known else range(cell.num_choices):
            # What saves most goes off first, of equals the deepest.
            parts = sorted(
                (-sign * rows[frame][index], ranks[branch], branch)
                for branch, rows in self._cells[number]
            )
            found.append(
                [
                    _Way(
                        -sum(minus for minus, _, _ in parts[off:]),
                        sum(rank for _, rank, _ in parts[:off]),
                        (index,),
                        tuple(branch for _, _, branch in parts[:off]),
                    )
                    for off in range(len(parts) + 1)
                ]
            )
        return [min(ways) for ways in zip(*found, strict=True)]


class _Way(NamedTuple):
    """Decisions about some cells; the least of them is the best."""

    cost: float
    rank: int  # of the branches that are off; lower is deeper
    indices: tuple[int, ...]
    off: tuple[Branch, ...]


def _combine(
    ways: Sequence[_Way], further: Sequence[_Way], max_off: int
) -> list[_Way]:
    """The best way for each number of branches off, one cell later."""
    most = min(len(ways) + len(further) - 2, max_off)
    return [
        min(
            _Way(*map(add, way, further[off - few]))
            for few, way in enumerate(ways)
            if 0 <= off - few < len(further)
        )
        for off in range(most + 1)
    ]


def _lone(
    subnet: Subnet, branch: Branch | None = None, width: int = 0
) -> Subnet:
    """At most one branch of a subnet on; costs know all widths."""
    layers = range(subnet.num_layers)
    widths: dict[str, Any] = {
        axis: tuple(width * (branch == (axis, i)) for i in layers)
        for axis in BRANCHES
    }
    return replace(subnet, **widths)
