"""One subnet: the active widths of an elastic Vision Transformer."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from operator import index
from pathlib import Path
from typing import Any

from eavit_mm.files import read_json
from eavit_mm.options import (
    MOST,
    check_choice,
    check_count,
    check_keys,
    check_mapping,
    check_number,
)

PREFIX, SUFFIX = SIDES = ('prefix', 'suffix')


@dataclass(frozen=True)
class Subnet:
    """Active widths (EA-ViT's theta, arXiv 2507.19360, section 3.1).

    Attributes:
        embed_dims: Open channels of the residual stream, shared by layers.
        num_heads: Open heads of each layer; 0: the attention is the identity.
        feedforward_channels: Open hidden channels of each layer; 0: the FFN
            is the identity.
        head_dims: Channels of one head, the same in all layers.
        side: Which channels are open: the first ('prefix') or, in Scala, the
            last ('suffix'), and likewise of heads, of channels of a head
            and of hidden channels.

    Raises:
        ValueError: If a width is no integer or negative, the per-layer widths
            differ in length, or ``side`` is unknown.
    """

    embed_dims: int
    num_heads: tuple[int, ...]
    feedforward_channels: tuple[int, ...]
    head_dims: int
    side: str = PREFIX

    def __post_init__(self) -> None:
        for name in ('num_heads', 'feedforward_channels'):
            widths = getattr(self, name)
            if not isinstance(widths, list | tuple):
                raise ValueError(
                    f'{name}={widths!r:.80}; must list one width per layer'
                )
            checked = tuple(widths)
            # Nearly always so, and subnets are made by the thousand.
            if not all(type(w) is int and 0 <= w <= MOST for w in checked):
                checked = tuple(
                    _check_width(f'layer {layer}: {name}', width, least=0)
                    for layer, width in enumerate(widths)
                )
            object.__setattr__(self, name, checked)
        for name in ('embed_dims', 'head_dims'):
            width = _check_width(name, getattr(self, name), least=1)
            object.__setattr__(self, name, width)
        if len(self.num_heads) != len(self.feedforward_channels):
            raise ValueError(
                f'num_heads has {len(self.num_heads)} layers, '
                f'feedforward_channels {len(self.feedforward_channels)}; '
                'must be the same'
            )
        if not self.num_heads:
            raise ValueError('num_heads is empty; needs at least one layer')
        check_choice('side', self.side, SIDES)

    @property
    def num_layers(self) -> int:
        """Layers, those with both branches off included."""
        return len(self.num_heads)

    @property
    def num_off(self) -> int:
        """Branches (attention and FFN counted apart) that are off."""
        return (self.num_heads + self.feedforward_channels).count(0)

    def at_depth(self, depth: float) -> 'Subnet':
        """This subnet with a share of its layers; the others are off.

        DynaBERT's pattern keeps the layers floor(i / depth), i < round(depth
        L): of 12 at 0.75 all but 3, 7 and 11, at 0.5 every other one.

        Raises:
            ValueError: If ``depth`` is not in (0, 1], or keeps no layer.
        """
        check_number('depth', depth, positive=True)
        # 0.7 is 7/10 and 10 / 12 is 5/6, not the float nearest to it.
        share = Fraction(depth).limit_denominator(1000)
        number = round(share * self.num_layers)
        if depth > 1 or not number:
            raise ValueError(
                f'depth={depth!r}; must keep from 1 to {self.num_layers} of '
                f'{self.num_layers} layers, as a share'
            )
        kept = {int(i / share) for i in range(number)}

        def keep(widths: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(w * (i in kept) for i, w in enumerate(widths))

        return replace(
            self,
            num_heads=keep(self.num_heads),
            feedforward_channels=keep(self.feedforward_channels),
        )

    def width(self, axis: str, layer: int) -> int:
        """The width of an axis in a layer; some have one for all layers."""
        width: Any = getattr(self, axis)
        return int(width[layer] if isinstance(width, tuple) else width)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in JSON files."""
        values = asdict(self)
        for name in ('num_heads', 'feedforward_channels'):
            values[name] = list(values[name])
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> 'Subnet':
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If a field is missing, unknown or has a wrong value.
        """
        check_mapping('subnet', values, 'widths')
        *needed, side = (field.name for field in fields(cls))
        check_keys('subnet', values, needed, [side])
        return cls(**values)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str | bytes) -> 'Subnet':
        """The inverse of :meth:`to_json`."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_file(cls, path: str | Path) -> 'Subnet':
        """Reads a JSON file with one subnet.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no subnet; the message names the file.
        """
        return read_json(path, cls.from_dict)


def opened(width: int, side: str) -> slice:
    """Where the open units stand among all; ``width`` is not 0."""
    return slice(width) if side == PREFIX else slice(-width, None)


def as_int(value: Any) -> Any:
    """An integer of any library as Python's; all else as it is.

    True and False are no widths: they come back unchanged and fail
    :func:`eavit_mm.options.is_int`.
    """
    is_foreign = hasattr(value, '__index__') and not isinstance(value, bool)
    return index(value) if is_foreign else value


def _check_width(name: str, value: Any, least: int) -> int:
    width = as_int(value)
    check_count(name, width, least)
    return int(width)
