"""The position embedding as mmpretrain has it: a row per token."""

import re
from collections.abc import Iterable, Mapping

import torch
from mmengine.logging import print_log
from torch import Tensor

from eavit_mm.weights.state_dict import is_square

_TOKEN, _POSITION = 'backbone.cls_token', 'backbone.pos_embed'
# Of these libraries, the positions are of the class token, too.
_PER_TOKEN = re.compile(
    r'embeddings\.position_embedding|posembed_input/pos_embedding'
    r'|positional_embedding|encoder\.pos_embedding|\.in_proj_weight'
)
# What goes with positions of patches alone: the layer scale of DeiT III, and
# the place where big_vision keeps them.
_PATCHES_ALONE = re.compile(r'\.(ls1\.gamma|gamma_1)$|(^|/)pos_embedding$')


def fit_positions(
    weights: Mapping[str, Tensor],
    names: Iterable[str],
    class_position: bool | None = None,
    num_patches: int | None = None,
) -> dict[str, Tensor]:
    """Gives the class token a position, if it has none.

    DeiT III (timm's ``no_embed_class``) and big_vision add positions to
    patches alone; a row of zeros is the same. A grid that is not square stays
    as it is: a file does not say which one, so only a network of as many
    tokens loads it.

    Args:
        weights: In mmpretrain's names; the positions are (1, N, C).
        names: The names that the same weights have in their file.
        class_position: As for :func:`eavit_mm.weights.convert_weights`.
        num_patches: Likewise.
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
    has_token = _TOKEN in weights
    if not has_token and class_position is not None:
        raise ValueError(
            f'class_position={class_position}: there is no class token '
            'among these weights; leave it out'
        )
    if has_token and class_position is None:
        class_position = _has_class_position(rows, names, num_patches)
    if class_position or not has_token:
        return dict(weights)
    text = f'pos_embed: {rows} patches; the class token gets zeros'
    print_log(text, 'current')
    none = torch.zeros_like(position[:, :1])
    return {**weights, _POSITION: torch.cat((none, position), dim=1)}


def _has_class_position(
    rows: int, names: Iterable[str], num_patches: int | None
) -> bool:
    """Whether one of the rows is the class token's.

    By number alone, n * n rows may also be a class token and a grid of
    (n - 1) x (n + 1).
    """
    names = list(names)
    if any(_PER_TOKEN.search(name) for name in names):
        return True
    per_token = is_square(rows - 1) or rows - 1 == num_patches
    alone = any(_PATCHES_ALONE.search(name) for name in names) and (
        is_square(rows) or rows == num_patches
    )
    if per_token != alone:
        return per_token
    if alone or is_square(rows):
        raise ValueError(
            f'pos_embed: {rows} rows are of {rows} patches, or of a class '
            f'token and {rows - 1}; convert it with tools/convert.py '
            '--class-position no (of patches alone) or yes'
        )
    # Neither number is a square, so nothing can be resized: rows fit as they
    # are or not at all.
    return rows != num_patches
