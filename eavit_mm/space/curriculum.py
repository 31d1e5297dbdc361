"""From training progress to the box of subnets that may be drawn."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eavit_mm.options import (
    check_count,
    check_keys,
    check_list,
    check_mapping,
    check_probability,
)
from eavit_mm.space.cells import ALL_AXES, HEAD_DIMS
from eavit_mm.space.search_space import SearchSpace


@dataclass(frozen=True)
class Level:
    """What one level of the curriculum lets a sampler draw.

    Attributes:
        space: The space of the supernet.
        box: The part of it that this level draws from; no branch is off in
            it if ``p_off`` is 0. Default: the whole space.
        p_off: Probability that a draw has branches off.
    """

    space: SearchSpace
    box: SearchSpace = None  # type: ignore[assignment]
    p_off: float = 0.5

    def __post_init__(self) -> None:
        check_probability('curriculum: p_off', self.p_off)
        box = self.space if self.box is None else self.box
        if not self.p_off:
            box = box.restrict(max_off=0)
        object.__setattr__(self, 'box', box)


class Curriculum:
    """Levels that widen the box of subnets (EA-ViT's CEA, stage 1).

    A level gives lower bounds of the non-zero widths, ``max_off`` and
    ``p_off``; what it leaves out stays as in the level before. The first
    level starts from the largest subnet alone.

    Args:
        space: The space that the last level reaches.
        levels: Dicts with ``begin`` (epoch or iteration, from 0 on, or a
            share of ``length`` such as 0.1) and any of ``embed_dims``,
            ``num_heads``, ``feedforward_channels``, ``head_dims``,
            ``max_off``, ``p_off``.
        length: Of the training, in epochs or iterations.

    Raises:
        ValueError: If a key or value is not valid, ``begin`` does not rise,
            a level is tighter than the one before it, or the last level
            cannot draw some choice of the space.

    Example:
        >>> Curriculum(space, [dict(begin=0),
        ...                    dict(begin=10, embed_dims=384, num_heads=6,
        ...                         feedforward_channels=384, max_off=2,
        ...                         p_off=0.3)])
    """

    def __init__(
        self,
        space: SearchSpace,
        levels: Sequence[Mapping[str, Any]],
        length: int | None = None,
    ) -> None:
        check_list('levels', levels, 'level')
        largest = space.largest
        bounds: dict[str, Any] = dict(
            embed_dims=largest.embed_dims,
            head_dims=largest.head_dims,
            num_heads=max(largest.num_heads),
            feedforward_channels=max(largest.feedforward_channels),
            max_off=0,
            p_off=0.0,
        )
        self.begins: list[int] = []
        self.levels: list[Level] = []
        for number, level in enumerate(levels):
            place = f'level {number} of the curriculum'
            begin = _begin_of(place, level, self.begins, length)
            given = {k: v for k, v in level.items() if k != 'begin'}
            if self.begins:
                _check_wider(place, given, bounds)
            bounds.update(given)
            self.begins.append(begin)
            self.levels.append(_build_level(place, space, **bounds))
        last = self.levels[-1]
        if last.box != space:
            raise ValueError(
                'the last level of the curriculum cannot draw every choice '
                f'of the space: it trains {_summary(last.box)}, '
                f'p_off={last.p_off}; the space is {_summary(space)}. Lower '
                'its bounds or narrow the space.'
            )

    def index(self, progress: int) -> int:
        """Number of the level at an epoch or iteration."""
        return bisect_right(self.begins, progress) - 1


def _begin_of(
    place: str, level: Any, begins: Sequence[int], length: int | None
) -> int:
    """When a level begins; raises unless its keys and values are valid."""
    check_mapping(place, level, "'begin' and bounds")
    check_keys(place, level, ['begin'], [*ALL_AXES, 'max_off', 'p_off'])
    begin, name = level['begin'], f'{place}: begin'
    if isinstance(begin, float) and length is not None:
        check_probability(name, begin)
        name = f'{name}={begin} of {length}'
        begin = round(begin * length)
    check_count(name, begin, begins[-1] + 1 if begins else 0)
    if not begins and begin:
        raise ValueError(f'{place}: begin={begin!r}; must be 0')
    for key in (*ALL_AXES, 'max_off'):
        check_count(f'{place}: {key}', level.get(key, 0))
    check_probability(f'{place}: p_off', level.get('p_off', 0.0))
    return int(begin)


def _check_wider(
    place: str, level: Mapping[str, Any], before: Mapping[str, Any]
) -> None:
    """Raises if a level allows less than the one before it."""
    for key, value in level.items():
        rises = key in ('max_off', 'p_off')
        if value < before[key] if rises else value > before[key]:
            raise ValueError(
                f'{place} is tighter than the one before it: {key}={value}, '
                f'before {before[key]}'
            )


def _build_level(
    place: str, space: SearchSpace, p_off: float, **bounds: int
) -> Level:
    if bounds['max_off'] > space.max_off:
        raise ValueError(
            f'{place}: max_off={bounds["max_off"]}, but the space has '
            f'max_off={space.max_off}'
        )
    try:
        box = space.restrict(**bounds)
    except ValueError as error:
        raise ValueError(f'{place}: {error}') from error
    return Level(space, box, p_off)


def _summary(space: SearchSpace) -> str:
    """The lower bounds of a space, as an error names them."""
    small = space.restrict(max_off=0).smallest
    heads = f'head_dims >= {small.head_dims}, '
    return (
        f'embed_dims >= {small.embed_dims}, '
        f'{heads if len(space.choices(HEAD_DIMS)) > 1 else ""}'
        f'num_heads >= {min(small.num_heads)}, '
        f'feedforward_channels >= {min(small.feedforward_channels)}, '
        f'max_off={space.max_off}'
    )
