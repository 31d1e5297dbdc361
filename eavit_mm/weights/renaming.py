"""What all layouts share: rename by rules, leave nothing over in silence."""

import re
from collections.abc import Mapping

from mmengine.logging import print_log
from torch import Tensor, cat

_SHOWN = 4


def rename(
    weights: Mapping[str, Tensor],
    rules: Mapping[str, str | None],
) -> dict[str, Tensor]:
    r"""Renames weights by the first rule that matches a whole name.

    Args:
        weights: Names to tensors.
        rules: Pattern to new name, in which ``\1`` is the pattern's first
            group; None for a part that only pretraining needs: it is dropped
            and logged.

    Returns:
        The renamed weights; tensors as they are.

    Raises:
        ValueError: If a name matches no rule or two become the same.
    """
    renamed: dict[str, Tensor] = {}
    left, dropped = [], []
    for name, weight in weights.items():
        new = _apply(rules, name)
        if new == '':
            left.append(name)
        elif new is None:
            dropped.append(name)
        elif new in renamed:
            raise ValueError(f'{name}: there are two weights for {new}')
        else:
            renamed[new] = weight
    if left:
        raise ValueError(
            "no place in mmpretrain's VisionTransformer for "
            f'{len(left)} weights: {_some(left)}'
        )
    if dropped:
        print_log(f'dropped, of pretraining only: {_some(dropped)}', 'current')
    return renamed


def join_qkv(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Joins ``attn.q``, ``attn.k``, ``attn.v`` to ``attn.qkv``.

    Args:
        weights: Tensors of shape (H D, C) or (H D,) under such names.

    Returns:
        The weights, with (3 H D, C) or (3 H D,) in their place.

    Raises:
        ValueError: If one of the three is missing.
    """
    joined: dict[str, Tensor] = {}
    for name, weight in weights.items():
        match = re.fullmatch(r'(.*\.attn\.)[qkv](\..*)', name)
        if match is None:
            joined[name] = weight
            continue
        start, end = match.groups()
        parts = [f'{start}{part}{end}' for part in 'qkv']
        missing = [part for part in parts if part not in weights]
        if missing:
            raise ValueError(
                f'{name} is there, {", ".join(missing)} is not; mmpretrain '
                'has one joint qkv'
            )
        joined[f'{start}qkv{end}'] = cat([weights[part] for part in parts])
    return joined


def _apply(rules: Mapping[str, str | None], name: str) -> str | None:
    """The new name; None to drop it, '' if there is no rule."""
    for pattern, new in rules.items():
        match = re.fullmatch(pattern, name)
        if match is not None:
            return None if new is None else match.expand(new)
    return ''


def _some(names: list[str]) -> str:
    more = ', ...' if len(names) > _SHOWN else ''
    return ', '.join(sorted(names)[:_SHOWN]) + more
