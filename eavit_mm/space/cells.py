"""The axes of a subnet, their choices, and the decisions about them."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, NamedTuple

from eavit_mm.options import check_count, check_flag, is_int
from eavit_mm.space.subnet import Subnet, as_int

EMBED = 'embed_dims'
HEAD_DIMS = 'head_dims'
HEADS = 'num_heads'
FFN = 'feedforward_channels'
AXES = (EMBED, HEADS, FFN)
# With the one that most spaces have no choice of. The axes of the whole
# network, which have one width for all layers, come first.
WHOLE = (EMBED, HEAD_DIMS)
ALL_AXES = (*WHOLE, HEADS, FFN)
# The axes whose width can be 0 in a layer: the branch is off there.
BRANCHES = (HEADS, FFN)

Choices = tuple[int, ...]
# An axis in a layer, such as ('num_heads', 3).
Place = tuple[str, int]
Branch = Place


@dataclass(frozen=True)
class Cell:
    """One free decision: an index into the choices of some axes.

    Attributes:
        axes: The axes that the decision sets; tied axes share an index.
        layers: The layers in which it sets them.
        choices: The widths of each of these axes in each of these layers; as
            many everywhere.
    """

    axes: tuple[str, ...]
    layers: tuple[int, ...]
    choices: Mapping[Place, Choices]

    @cached_property
    def branches(self) -> tuple[Branch, ...]:
        """The (axis, layer) pairs of the cell that can be off."""
        return tuple(p for p in self.choices if p[0] in BRANCHES)

    @cached_property
    def is_whole(self) -> bool:
        """Whether its index is known also where all its branches are off."""
        return any(axis in WHOLE for axis in self.axes)

    @cached_property
    def num_choices(self) -> int:
        """The index lies in [0, num_choices)."""
        return len(self.choices[self.axes[0], self.layers[0]])

    @cached_property
    def switches(self) -> tuple[Fraction, ...]:
        """The s at which ``SearchSpace.uniform(s)`` takes each next choice.

        Half way between two choices of the first axis and layer, as a share
        of their maximum. Exact, so that cells that switch at the same s do so
        together.
        """
        choices = self.choices[self.axes[0], self.layers[0]]
        return tuple(
            Fraction(low + high, 2 * choices[-1])
            for low, high in pairwise(choices)
        )

    def open_indices(self, subnet: Subnet) -> set[int]:
        """The indices of the open widths of a subnet, all of them choices."""
        return {
            choices.index(width)
            for place, choices in self.choices.items()
            if (width := subnet.width(*place))
        }

    def first_index(self, bounds: Mapping[str, int]) -> int:
        """The lowest index at which all widths reach lower bounds.

        A place narrower than its bound asks for its maximum.
        """
        return max(
            min(bisect_left(choices, bounds[axis]), len(choices) - 1)
            for (axis, _), choices in self.choices.items()
        )


def choices_by_place(
    embed_dims: Choices,
    head_dims: int | Choices,
    *branches: tuple[Choices, ...],
) -> dict[Place, Choices]:
    """Choices of every axis in every layer, those of the whole network too."""
    num_layers = len(branches[0])
    dims = (head_dims,) if isinstance(head_dims, int) else head_dims
    whole = ((choices,) * num_layers for choices in (embed_dims, dims))
    return {
        (axis, layer): choices
        for axis, lists in zip(ALL_AXES, (*whole, *branches), strict=True)
        for layer, choices in enumerate(lists)
    }


class Decisions(NamedTuple):
    """A subnet as decisions; ``SearchSpace.build`` makes the subnet of them.

    Attributes:
        indices: The index of each cell of the space.
        off: The branches that are off. Where the order matters, go through
            ``SearchSpace.branches``: a set's differs between processes.
    """

    indices: tuple[int, ...]
    off: frozenset[Branch]


def free_cells(
    choices: Mapping[Place, Choices],
    shared: Sequence[str],
    ties: Sequence[Sequence[str]],
) -> tuple[Cell, ...]:
    """The free decisions about widths, the embedding's first.

    Then the heads' width's, if there is a choice of it.

    Raises:
        ValueError: If places that share an index differ in their number of
            choices.
    """
    cells = []
    everywhere = tuple(layer for axis, layer in choices if axis == EMBED)
    for axis in ALL_AXES:
        tied = next((tie for tie in ties if axis in tie), (axis,))
        group = tuple(name for name in ALL_AXES if name in tied)
        if axis != group[0]:  # the group came with its first axis
            continue
        if group == (HEAD_DIMS,) and len(choices[HEAD_DIMS, 0]) == 1:
            continue
        whole = any(name in (*WHOLE, *shared) for name in group)
        for layers in [everywhere] if whole else zip(everywhere):
            own = {(a, i): choices[a, i] for a in group for i in layers}
            sizes = sorted(set(map(len, own.values())))
            if len(sizes) > 1:
                raise ValueError(
                    f'ties or shared: {list(group)} share one index over '
                    f'layers {list(layers)}, but differ in their number '
                    f'of choices: {sizes}'
                )
            cells.append(Cell(group, tuple(layers), own))
    return tuple(cells)


def problems_of(
    subnet: Subnet,
    places: Mapping[Place, Choices],
    cells: Sequence[Cell],
    max_off: int,
    side: str,
) -> list[str]:
    """Why a subnet is no member of a space; empty if it is.

    Args:
        subnet: Of any widths, with the layers of the space.
        places: Choices of every axis in every layer, those of an axis of the
            whole network once.
        cells: The decisions about them.
        max_off: How many branches may be off.
        side: Which units a subnet of this embedding width has.
    """
    found = []
    if subnet.side != side:
        found.append(
            f'side={subnet.side!r}, in this space embed_dims='
            f'{subnet.embed_dims} has {side!r}'
        )
    for (axis, layer), widths in places.items():
        width = subnet.width(axis, layer)
        if width and width not in widths:
            place = f'layer {layer}: ' if axis in BRANCHES else ''
            found.append(
                f'{place}{axis}={width} is outside this space '
                f'({", ".join(map(str, widths))})'
            )
    if subnet.num_off > max_off:
        found.append(f'{subnet.num_off} branches are off, max_off={max_off}')
    return found or [
        f'{list(cell.axes)} must share one choice over layers '
        f'{list(cell.layers)}'
        for cell in cells
        if len(cell.choices) > 1 and len(cell.open_indices(subnet)) > 1
    ]


# Checks of what a config says; each raises a ValueError that names it


def is_list(value: Any) -> bool:
    """Whether a value lists others; arrays and ranges do so too."""
    return hasattr(value, '__iter__') and not isinstance(value, str)


def check_choices(name: str, values: Any) -> Choices:
    """Sorts the choices of an axis, different positive integers."""
    widths = [as_int(value) for value in values] if is_list(values) else []
    are_widths = all(is_int(width) and width > 0 for width in widths)
    if not widths or not are_widths or len(set(widths)) < len(widths):
        raise ValueError(
            f'{name}={values!r}; must be a list of different positive '
            'integers (0 is none: branches are switched off by max_off)'
        )
    return tuple(sorted(widths))


def check_head_dims(values: Any) -> int | Choices:
    """The width of all heads; several choices of it are sorted."""
    if not is_list(values):
        check_count(HEAD_DIMS, values, least=1)
        return int(values)
    choices = check_choices(HEAD_DIMS, values)
    return choices if len(choices) > 1 else choices[0]


def choices_per_layer(
    name: str, values: Any, num_layers: int
) -> tuple[Choices, ...]:
    """One tuple of choices per layer, from a list or a list of lists."""
    if not (isinstance(values, list | tuple) and any(map(is_list, values))):
        return (check_choices(name, values),) * num_layers
    if len(values) != num_layers:
        raise ValueError(
            f'{name} lists choices for {len(values)} layers, the network '
            f'has {num_layers}'
        )
    return tuple(
        check_choices(f'layer {layer}: {name}', choices)
        for layer, choices in enumerate(values)
    )


def check_max_off(value: Any, num_layers: int) -> None:
    """Raises unless so many branches can be off."""
    most = 2 * num_layers
    if not is_int(value) or not 0 <= value <= most:
        raise ValueError(
            f'max_off={value!r}; must be an integer from 0 to '
            f'{most} (two branches in each of {num_layers} layers)'
        )


def check_suffix(value: Any, embed_dims: Choices) -> None:
    """Raises unless it says whether the smallest width is a suffix."""
    check_flag('suffix_smallest', value)
    if value and len(embed_dims) == 1:
        raise ValueError(
            f'suffix_smallest=True, embed_dims={list(embed_dims)}; needs a '
            'second width: the largest subnet is a prefix'
        )


def check_shared(values: Any) -> tuple[str, ...]:
    """Sorts the axes with one choice for all layers; None is none."""
    shared = () if values is None else values
    is_list = isinstance(shared, list | tuple)
    if not is_list or any(axis not in BRANCHES for axis in shared):
        raise ValueError(
            f'shared={values!r}; must be a list of {list(BRANCHES)}'
        )
    return tuple(sorted(set(shared)))


def check_ties(values: Any) -> tuple[tuple[str, ...], ...]:
    """Sorts the groups of axes that share an index; None is none."""
    ties = () if values is None else values
    are_lists = isinstance(ties, list | tuple) and all(
        isinstance(tie, list | tuple) and len(tie) > 1 for tie in ties
    )
    tied = list(chain.from_iterable(ties)) if are_lists else []
    are_axes = all(axis in ALL_AXES for axis in tied)
    if not are_lists or not are_axes or len(set(tied)) < len(tied):
        raise ValueError(
            f'ties={values!r}; must be a list of groups, each of two or '
            f'more of {list(ALL_AXES)}, and an axis in one group only'
        )
    # One order, so that equal spaces compare equal.
    return tuple(sorted(tuple(sorted(tie)) for tie in ties))
