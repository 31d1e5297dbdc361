"""The position embedding as mmpretrain has it: a row per token."""

from collections.abc import Mapping
from math import isqrt

import torch
from mmengine.logging import print_log
from torch import Tensor

_TOKEN, _POSITION = 'backbone.cls_token', 'backbone.pos_embed'


def fit_positions(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives the class token a position, if it has none.

    DeiT III (timm's ``no_embed_class``) and big_vision add positions to
    patches alone; a row of zeros is the same. With a class token, a square
    number of rows is taken for that. A grid that is not square stays as it
    is: a file does not say which one, so only a network of as many tokens
    loads it.

    Args:
        weights: In mmpretrain's names, with ``backbone.``.

    Returns:
        The weights, the position embedding (1, N, C) with a row per token.

    Raises:
        ValueError: If it has no such shape.
    """
    position = weights.get(_POSITION)
    if position is None:
        raise ValueError(
            'there is no position embedding; mmpretrain adds a learned one'
        )
    if position.ndim != 3 or len(position) != 1:
        raise ValueError(
            f'pos_embed: shape {tuple(position.shape)}; mmpretrain has one '
            'of shape (1, tokens, channels)'
        )
    rows = position.shape[1]
    if _TOKEN not in weights or _is_square(rows - 1) or not _is_square(rows):
        return dict(weights)
    print_log(
        f'pos_embed: {rows} patches and none for the class token, which gets '
        'zeros',
        'current',
    )
    none = torch.zeros_like(position[:, :1])
    return {**weights, _POSITION: torch.cat((none, position), dim=1)}


def _is_square(patches: int) -> bool:
    return patches > 0 and isqrt(patches) ** 2 == patches
