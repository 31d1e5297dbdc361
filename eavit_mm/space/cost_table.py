"""A cost by parts: the stem, and each branch at its two widths."""

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from eavit_mm.space.cells import BRANCHES, EMBED, Branch
from eavit_mm.space.search_space import SearchSpace
from eavit_mm.space.subnet import Subnet


class CostTable:
    """Values of a cost function for every width, read once.

    Every cost here (MACs, parameters, the latency of a table) adds up over
    the branches. So the closed forms and the latency table stay the only
    places that know it; who asks for the cost of very many subnets, or for
    one as a function of gates, looks it up here.

    Sums of integers below 2**53 are exact in any order, and so are the times
    of a :class:`LatencyTable`: all values here equal the cost's. Of any other
    cost they do so up to rounding.

    Args:
        space: The space whose members' costs are asked.
        cost: A function that adds up over the branches; it need not rise
            with every width, as measured times do not.

    Attributes:
        stem: (choices of the embedding width): all branches off.
        branches: (axis, layer) to (choices of the embedding width, choices
            of the branch's width): what the branch adds.
        largest: Cost of the largest subnet.
    """

    def __init__(
        self, space: SearchSpace, cost: Callable[[Subnet], float]
    ) -> None:
        self.space = space
        stem = [cost(_with_branch(space, e)) for e in space.embed_dims]
        self.stem = np.array(stem, dtype=np.float64)
        self.branches = {
            (axis, layer): np.array(
                [
                    [
                        cost(_with_branch(space, e, axis, layer, width))
                        - alone
                        for width in space.choices(axis, layer)
                    ]
                    for e, alone in zip(space.embed_dims, stem, strict=True)
                ],
                dtype=np.float64,
            )
            for axis, layer in space.branches
        }
        # Plain numbers: numpy is slow at reading one at a time.
        self._stem = self.stem.tolist()
        self._rows = {
            b: values.tolist() for b, values in self.branches.items()
        }
        self._cells = [
            [(branch, self._rows[branch]) for branch in cell.branches]
            for cell in space.cells
        ]
        (self._embed,) = (
            i for i, cell in enumerate(space.cells) if EMBED in cell.axes
        )
        deepest = sorted(space.branches, key=lambda branch: -branch[1])
        self._ranks = {branch: rank for rank, branch in enumerate(deepest)}
        widest = [cell.num_choices - 1 for cell in space.cells]
        self.largest = self.of(widest, ())

    def of(self, indices: Sequence[int], off: Collection[Branch]) -> float:
        """Cost of the subnet that ``space.build`` makes of the same."""
        embed = indices[self._embed]
        total: float = self._stem[embed]
        for index, branches in zip(indices, self._cells, strict=True):
            for branch, rows in branches:
                if branch not in off:
                    total += rows[embed][index]
        return total

    def of_subnet(self, subnet: Subnet) -> float:
        """Cost of a member."""
        embed = self.space.embed_dims.index(subnet.embed_dims)
        total: float = self._stem[embed]
        for (axis, layer), rows in self._rows.items():
            if width := getattr(subnet, axis)[layer]:
                index = self.space.choices(axis, layer).index(width)
                total += rows[embed][index]
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

        At one embedding width cells only share ``max_off``. So of the best
        ways to decide about the first cells, one for each number of branches
        off, follow those for one cell more.
        """
        ends = []
        for embed, stem in enumerate(self._stem):
            ways = [_Way(sign * stem, 0, (), ())]
            for number in range(len(self._cells)):
                further = self._ways_of(number, embed, sign)
                ways = _combine(ways, further, self.space.max_off)
            ends.append(min(ways, key=itemgetter(0)))  # the fewest off
        best = min(ends, key=itemgetter(0))  # the narrowest
        return self.space.build(best.indices, best.off)

    def _ways_of(self, number: int, embed: int, sign: int) -> list['_Way']:
        """The best about one cell with 0, 1, ... of its branches off."""
        indices: Sequence[int] = range(self.space.cells[number].num_choices)
        if number == self._embed:
            indices = [embed]
        found = []
        for index in indices:
            # What saves most goes off first, of equals the deepest.
            parts = sorted(
                (-sign * rows[embed][index], self._ranks[branch], branch)
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

    def then(self, other: '_Way') -> '_Way':
        """These decisions, and those about further cells."""
        return _Way(
            self.cost + other.cost,
            self.rank + other.rank,
            self.indices + other.indices,
            self.off + other.off,
        )


def _combine(
    ways: Sequence[_Way], further: Sequence[_Way], max_off: int
) -> list[_Way]:
    """The best way for each number of branches off, one cell later."""
    most = min(len(ways) + len(further) - 2, max_off)
    return [
        min(
            way.then(further[off - few])
            for few, way in enumerate(ways)
            if 0 <= off - few < len(further)
        )
        for off in range(most + 1)
    ]


def _with_branch(
    space: SearchSpace,
    embed_dims: int,
    axis: str = '',
    layer: int = 0,
    width: int = 0,
) -> Subnet:
    """A subnet of which at most one branch is on; costs know all widths."""
    widths = {name: [0] * space.num_layers for name in BRANCHES}
    if axis:
        widths[axis][layer] = width
    heads, channels = (tuple(widths[name]) for name in BRANCHES)
    return Subnet(embed_dims, heads, channels, space.head_dims)
