"""The structure of a search space: choices, ties and how they build."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, Self

from eavit_mm.options import is_int
from eavit_mm.space import genome
from eavit_mm.space.cells import (
    AXES,
    BRANCHES,
    EMBED,
    FFN,
    HEADS,
    Cell,
    Choices,
    as_names,
    check_choices,
    choices_per_layer,
)
from eavit_mm.space.subnet import Subnet


@dataclass(frozen=True)
class Box:
    """Choices per axis, and the subnets that indices into them build.

    Fields and errors: see :class:`eavit_mm.space.SearchSpace`.
    """

    embed_dims: Choices
    num_heads: tuple[Choices, ...]
    feedforward_channels: tuple[Choices, ...]
    num_layers: int
    head_dims: int
    max_off: int = 0
    shared: tuple[str, ...] = ()
    ties: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, EMBED, check_choices(EMBED, self.embed_dims))
        for axis in BRANCHES:
            per_layer = choices_per_layer(
                axis, getattr(self, axis), self.num_layers
            )
            object.__setattr__(self, axis, per_layer)
        if not is_int(self.head_dims) or self.head_dims < 1:
            raise ValueError(
                f'head_dims={self.head_dims!r}; must be an integer of at '
                'least 1'
            )
        shared = as_names('shared', self.shared)
        if not isinstance(self.ties, list | tuple | None):
            raise ValueError(f'ties={self.ties!r}; must be a list of lists')
        ties = [as_names('ties', tie) for tie in self.ties or ()]
        self._check_groups(shared, ties)
        # One order, so that equal spaces compare equal.
        object.__setattr__(self, 'shared', tuple(sorted(set(shared))))
        ties = sorted(tuple(sorted(tie)) for tie in ties)
        object.__setattr__(self, 'ties', tuple(ties))
        self._check_cells()
        branches = 2 * self.num_layers
        if not is_int(self.max_off) or not 0 <= self.max_off <= branches:
            raise ValueError(
                f'max_off={self.max_off!r}; must be an integer from 0 to '
                f'{branches} (two branches in each of {self.num_layers} '
                'layers)'
            )

    @staticmethod
    def _check_groups(
        shared: Sequence[str], ties: Sequence[tuple[str, ...]]
    ) -> None:
        for axis in shared:
            if axis not in BRANCHES:
                raise ValueError(
                    f'shared={list(shared)}: {axis!r} must be one of '
                    f'{list(BRANCHES)}'
                )
        tied = list(chain.from_iterable(ties))
        for axis in tied:
            if axis not in AXES:
                raise ValueError(
                    f'ties={list(map(list, ties))}: {axis!r} must be '
                    f'one of {list(AXES)}'
                )
        if len(tied) != len(set(tied)) or any(len(t) < 2 for t in ties):
            raise ValueError(
                f'ties={list(map(list, ties))}: every group needs two '
                'axes or more, and an axis stands in one group only'
            )

    def _check_cells(self) -> None:
        for cell in self.cells:
            sizes = {
                (axis, layer): len(self.choices(axis, layer))
                for axis in cell.axes
                for layer in cell.layers
            }
            if len(set(sizes.values())) > 1:
                raise ValueError(
                    f'ties or shared: {list(cell.axes)} share one index over '
                    f'layers {list(cell.layers)}, but differ in their number '
                    f'of choices: {sorted(set(sizes.values()))}'
                )

    # Building

    @classmethod
    def from_config(
        cls, cfg: Mapping[str, Any], *, num_layers: int, head_dims: int
    ) -> Self:
        """Builds the space of a config; the network gives what is left.

        Args:
            cfg: ``embed_dims``, ``num_heads``, ``feedforward_channels`` and
                optionally ``max_off``, ``shared``, ``ties``.
            num_layers: L of the supernet.
            head_dims: Channels of a head of the supernet.

        Raises:
            ValueError: If a key is unknown, missing or contradicts the
                network.
        """
        if not isinstance(cfg, Mapping):
            raise ValueError(
                f'space={cfg!r}; must be a dict with choices of {list(AXES)}'
            )
        fixed = dict(num_layers=num_layers, head_dims=head_dims)
        optional = {'max_off', 'shared', 'ties', 'type', *fixed}
        unknown = sorted(set(cfg) - {*AXES, *optional})
        missing = sorted(set(AXES) - set(cfg))
        if unknown or missing:
            raise ValueError(
                f'space: unknown keys {unknown}, missing keys {missing}; '
                f'valid are {[*AXES, "max_off", "shared", "ties"]}'
            )
        for name, value in fixed.items():
            if cfg.get(name, value) != value:
                raise ValueError(
                    f'space: {name}={cfg[name]!r}, but the network has '
                    f'{name}={value}'
                )
        values = {name: cfg[name] for name in cfg if name != 'type'}
        return cls(**{**values, **fixed})

    def to_config(self) -> dict[str, Any]:
        """Plain values; ``SearchSpace(**space.to_config())`` is the space."""
        per_layer = {
            axis: [list(choices) for choices in getattr(self, axis)]
            for axis in BRANCHES
        }
        return dict(
            embed_dims=list(self.embed_dims),
            **per_layer,
            num_layers=self.num_layers,
            head_dims=self.head_dims,
            max_off=self.max_off,
            shared=list(self.shared),
            ties=[list(group) for group in self.ties],
        )

    def restrict(
        self,
        embed_dims: int = 0,
        num_heads: int = 0,
        feedforward_channels: int = 0,
        max_off: int | None = None,
    ) -> Self:
        """The box above lower bounds of the non-zero widths.

        A layer whose maximum is below a bound keeps that maximum; tied and
        shared axes follow the strictest bound among them.

        Args:
            embed_dims: Lower bound of the embedding width.
            num_heads: Lower bound of every layer's heads that are on.
            feedforward_channels: Likewise for the hidden channels.
            max_off: At most so many branches off; None: as in this space.

        Raises:
            ValueError: If a bound leaves no choice.
        """
        bounds = dict(
            zip(
                AXES,
                (embed_dims, num_heads, feedforward_channels),
                strict=True,
            )
        )
        for axis, bound in bounds.items():
            widest = max(
                self.choices(axis, layer)[-1]
                for layer in range(self.num_layers)
            )
            if bound > widest:
                raise ValueError(
                    f'{axis}: the lower bound {bound} leaves no choice; the '
                    f'largest is {widest}'
                )
        begin = {axis: self._first_index(axis, bounds) for axis in AXES}
        per_layer: dict[str, Any] = {
            axis: tuple(
                choices[begin[axis][layer] :]
                for layer, choices in enumerate(getattr(self, axis))
            )
            for axis in BRANCHES
        }
        return replace(
            self,
            embed_dims=self.embed_dims[begin[EMBED][0] :],
            **per_layer,
            max_off=min(
                self.max_off, self.max_off if max_off is None else max_off
            ),
        )

    def _first_index(self, axis: str, bounds: Mapping[str, int]) -> list[int]:
        """Per layer, the first index of an axis that the bounds allow.

        Tied and shared axes keep one index, so the strictest bound of their
        cell decides.
        """
        first = [0] * self.num_layers
        for cell in self.cells:
            if axis not in cell.axes:
                continue
            index = 0
            for name in cell.axes:
                for layer in cell.layers:
                    choices = self.choices(name, layer)
                    below = sum(c < bounds[name] for c in choices)
                    # A layer narrower than the bound keeps its maximum.
                    index = max(index, min(below, len(choices) - 1))
            for layer in cell.layers:
                first[layer] = index
        return first

    # Structure

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The free decisions about widths, the embedding's first."""
        tied = {axis: group for group in self.ties for axis in group}
        cells: list[Cell] = []
        done: set[str] = set()
        everywhere = tuple(range(self.num_layers))
        for axis in AXES:
            group = tied.get(axis, (axis,))
            if axis in done:
                continue
            done.update(group)
            group = tuple(name for name in AXES if name in group)
            whole = EMBED in group or any(a in self.shared for a in group)
            for layers in [everywhere] if whole else zip(everywhere):
                num_choices = len(self.choices(group[0], layers[0]))
                cells.append(Cell(group, tuple(layers), num_choices))
        return tuple(cells)

    @property
    def branches(self) -> tuple[tuple[str, int], ...]:
        """All (axis, layer) pairs that can be off."""
        return tuple(
            (axis, layer)
            for axis in BRANCHES
            for layer in range(self.num_layers)
        )

    def off_branches(self, subnet: Subnet) -> list[tuple[str, int]]:
        """The (axis, layer) pairs that are off in a subnet of L layers."""
        return [(a, i) for a, i in self.branches if not getattr(subnet, a)[i]]

    def choices(self, axis: str, layer: int = 0) -> Choices:
        """The non-zero widths of an axis in a layer, ascending."""
        if axis == EMBED:
            return self.embed_dims
        choices: Choices = getattr(self, axis)[layer]
        return choices

    def build(
        self,
        indices: Sequence[int],
        off: Iterable[tuple[str, int]] = (),
    ) -> Subnet:
        """The subnet with one choice index per cell and some branches off.

        Args:
            indices: Index of each of :attr:`cells`.
            off: (axis, layer) pairs that are off.
        """
        widths: dict[str, list[int]] = {
            axis: [0] * self.num_layers for axis in AXES
        }
        for cell, index in zip(self.cells, indices, strict=True):
            for axis in cell.axes:
                for layer in cell.layers:
                    widths[axis][layer] = self.choices(axis, layer)[index]
        for axis, layer in off:
            widths[axis][layer] = 0
        return Subnet(
            embed_dims=widths[EMBED][0],
            num_heads=tuple(widths[HEADS]),
            feedforward_channels=tuple(widths[FFN]),
            head_dims=self.head_dims,
        )

    def indices(self, subnet: Subnet) -> list[int]:
        """The choice index of every cell of a member; 0 where all is off."""
        return [
            max(genome.open_indices(self, cell, subnet), default=0)
            for cell in self.cells
        ]
