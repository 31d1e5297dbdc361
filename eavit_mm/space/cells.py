"""The axes of a subnet, their choices, and the decisions about them."""

from dataclasses import dataclass
from operator import index
from typing import Any

from eavit_mm.options import is_int

EMBED = 'embed_dims'
HEADS = 'num_heads'
FFN = 'feedforward_channels'
AXES = (EMBED, HEADS, FFN)
# The axes whose width can be 0 in a layer: the branch is off there.
BRANCHES = (HEADS, FFN)

Choices = tuple[int, ...]


@dataclass(frozen=True)
class Cell:
    """One free decision: an index into the choices of some axes.

    Attributes:
        axes: The axes that the decision sets; tied axes share an index.
        layers: The layers in which it sets them.
        num_choices: The index lies in [0, num_choices).
    """

    axes: tuple[str, ...]
    layers: tuple[int, ...]
    num_choices: int

    @property
    def branches(self) -> tuple[tuple[str, int], ...]:
        """The (axis, layer) pairs of the cell that can be off."""
        return tuple(
            (axis, layer)
            for axis in self.axes
            if axis in BRANCHES
            for layer in self.layers
        )


def as_int(value: Any) -> Any:
    """An integer of any library as Python's; all else as it is.

    True and False are no widths: they come back unchanged and fail
    :func:`eavit_mm.options.is_int`.
    """
    is_foreign = hasattr(value, '__index__') and not isinstance(value, bool)
    return index(value) if is_foreign else value


def as_names(name: str, value: Any) -> tuple[str, ...]:
    """A tuple of names from a config's list; None is none.

    Raises:
        ValueError: If it is a single string or no list.
    """
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise ValueError(f'{name}={value!r}; must be a list of axes')
    return tuple(value)


def check_choices(name: str, values: Any) -> Choices:
    """Checks and sorts the choices of an axis.

    Raises:
        ValueError: If there is none, one stands twice, or one is no positive
            integer.
    """
    # Not a string; arrays and ranges are lists too.
    if not hasattr(values, '__iter__') or isinstance(values, str):
        raise ValueError(f'{name}={values!r}; must be a list of widths')
    values = [as_int(value) for value in values]
    if not values:
        raise ValueError(f'{name}=[]; must list at least one width')
    for value in values:
        if not is_int(value) or value < 1:
            raise ValueError(
                f'{name}={values}: {value!r} must be a positive '
                'integer (branches are switched off by max_off)'
            )
    if len(set(values)) != len(values):
        raise ValueError(f'{name}={values}: a choice stands twice')
    return tuple(sorted(values))


def choices_per_layer(
    name: str, values: Any, num_layers: int
) -> tuple[Choices, ...]:
    """One tuple of choices per layer, from a list or a list of lists.

    Raises:
        ValueError: As :func:`check_choices`, or if the number of layers
            differs.
    """
    if not is_int(num_layers) or num_layers < 1:
        raise ValueError(
            f'num_layers={num_layers!r}; must be an integer of at least 1'
        )
    nested = isinstance(values, list | tuple) and any(
        hasattr(value, '__iter__') and not isinstance(value, str)
        for value in values
    )
    if not nested:
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
