"""A cost by parts: the stem, and each branch at its two widths."""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from eavit_mm.space.cells import BRANCHES, EMBED
from eavit_mm.space.search_space import SearchSpace
from eavit_mm.space.subnet import Subnet

Branch = tuple[str, int]


class CostTable:
    """Values of a cost function for every width, read once.

    Every cost here (MACs, parameters, the latency of a table) adds up over
    the branches. So the closed forms and the latency table stay the only
    places that know it; who asks for the cost of very many subnets, or for
    one as a function of gates, looks it up here.

    Args:
        space: Of the subnets.
        cost: Adds up over the branches.

    Attributes:
        stem: (choices of the embedding width): all branches off.
        branches: (axis, layer) to (choices of the embedding width, choices
            of the branch's width): what the branch adds.
        cheapest: The member of least cost.
        lowest: Its cost.
        largest: Cost of the largest subnet.
    """

    def __init__(
        self, space: SearchSpace, cost: Callable[[Subnet], float]
    ) -> None:
        self.space = space
        self.cheapest = space.cheapest(cost)
        self.lowest = float(cost(self.cheapest))
        self.largest = float(cost(space.largest))
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
        rows = {branch: v.tolist() for branch, v in self.branches.items()}
        self._cells = [
            [(branch, rows[branch]) for branch in cell.branches]
            for cell in space.cells
        ]
        (self._embed,) = (
            i for i, cell in enumerate(space.cells) if EMBED in cell.axes
        )

    def of(self, indices: Sequence[int], off: Collection[Branch]) -> float:
        """Cost of the subnet that ``space.build`` makes of the same."""
        embed = indices[self._embed]
        total: float = self._stem[embed]
        for index, branches in zip(indices, self._cells, strict=True):
            for branch, rows in branches:
                if branch not in off:
                    total += rows[embed][index]
        return total

    def share(self, subnet: Subnet) -> float:
        """Of the largest subnet's cost."""
        off = self.space.off_branches(subnet)
        return self.of(self.space.indices(subnet), off) / self.largest

    @property
    def lowest_share(self) -> float:
        """Cost of the cheapest member, likewise."""
        return self.lowest / self.largest


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
