"""The position embedding as mmpretrain has it: a row per token."""

import re
from collections.abc import Iterable, Mapping

import torch
from mmengine.logging import print_log
from torch import Tensor

from eavit_mm.weights.state_dict import is_square

_TOKEN, _POSITION = 'backbone.cls_token', 'backbone.pos_embed'
_REGISTERS = 'backbone.register_tokens'
# Of these libraries, the positions are of the class token, too.
_PER_TOKEN = re.compile(
    r'embeddings\.position_embedding|posembed_input/pos_embedding'
    r'|positional_embedding|encoder\.pos_embedding|\.in_proj_weight'
)
# What goes with positions of patches alone: the layer scale of DeiT III, the
# registers of timm, and the place where big_vision keeps them.
_PATCHES_ALONE = re.compile(
    r'\.(ls1\.gamma|gamma_1)$|(^|/)pos_embedding$|^reg_token$'
)


def fit_positions(
    weights: Mapping[str, Tensor],
    names: Iterable[str],
    class_position: bool | None = None,
    num_patches: int | None = None,
) -> dict[str, Tensor]:
    """Gives the class token and registers positions, if they have none.

    DeiT III (timm's ``no_embed_class``) and big_vision add positions to
    patches alone, DINOv2 none to its registers; rows of zeros are the same.
    Both become one weight. A grid that is not square stays as it is: a file
    does not say which one, so only a network of as many tokens loads it.

    Args:
        weights: In mmpretrain's names; the positions are (1, N, C).
        names: The names that the same weights have in their file.
        class_position: As for :func:`eavit_mm.weights.convert_weights`.
        num_patches: Likewise.
    """
    position = weights.get(_POSITION)
    if position is None:
        raise ValueError(
            'there is no position embedding (DINOv3 has rotary positions); '
            'mmpretrain adds a learned one'
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
    tokens = [
        weights[name] for name in (_TOKEN, _REGISTERS) if name in weights
    ]
    if not tokens:
        return dict(weights)
    token = torch.cat(tokens, dim=1)
    extra, given = token.shape[1], 0
    is_whole = not is_square(rows) and is_square(rows - extra)
    if _REGISTERS in weights and is_whole:
        given = extra  # registers have positions, too
    elif has_token:
        if class_position is None:
            class_position = _has_class_position(rows, names, num_patches)
        given = int(class_position)
    if given < extra:
        text = f'pos_embed: {rows - given} patches; zeros for {extra - given}'
        print_log(f'{text} of {extra} other tokens', 'current')
    none = torch.zeros_like(token[:, given:])
    front, patches = position[:, :given], position[:, given:]
    position = torch.cat((front, none, patches), dim=1)
    renamed = {k: w for k, w in weights.items() if k != _REGISTERS}
    return {**renamed, _TOKEN: token, _POSITION: position}


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
