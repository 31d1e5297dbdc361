"""The one strict check of every checkpoint that a supernet loads.

mmengine loads ``load_from`` and ``init_cfg`` leniently: a wrong file trains
from scratch without a word. Here keys and shapes must fit before a weight is
touched, whoever loads.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmpretrain.models import VisionTransformer
from torch import Tensor, nn

_SHOWN = 4
# Types of torch whose elements are several numbers, or bits of one.
_PACKED = re.compile(r'torch\.(float4.*|bits.*|u?int[1-7])')


def require_pretrained(init_cfg: Any) -> None:
    """Raises if an ``init_cfg`` names a local file that is not there.

    Args:
        init_cfg: A dict, a list of dicts or None.

    Raises:
        FileNotFoundError: Names the file and what it should hold.
    """
    for cfg in [init_cfg] if isinstance(init_cfg, dict) else init_cfg or []:
        path = str(cfg.get('checkpoint') or '')
        if cfg.get('type') != 'Pretrained' or '://' in path:
            continue
        if not Path(path).expanduser().is_file():
            is_folder = path and Path(path).expanduser().is_dir()
            found = 'is a folder' if is_folder else 'is not there'
            raise FileNotFoundError(
                f'init_cfg: {path or repr(path)} {found}. Put a checkpoint '
                "of the pretrained network (mmpretrain's, timm's, Hugging "
                "Face's or augreg's .npz) in this place, or give another one "
                'with --cfg-options '
                'model.backbone.init_cfg.checkpoint=FILE'
            )


class CheckpointError(ValueError):
    """A checkpoint is not one of this network; its file is to be named."""


def require_sound(weights: Mapping[str, Any]) -> None:
    """Raises unless every weight is a tensor of finite numbers.

    Args:
        weights: Names to tensors; counters and flags may be integers.

    Raises:
        CheckpointError: Names the first few that are not.
    """
    broken = []
    for name, value in weights.items():
        if not isinstance(value, Tensor) or not is_plain(value):
            broken.append(f'{name}: {_kind(value)}')
        elif number := _num_not_finite(value):
            broken.append(f'{name}: {number} NaN or infinite')
    if broken:
        raise CheckpointError(
            'its weights are broken'
            + _list('that are not finite numbers', broken)
        )


def is_plain(value: Tensor) -> bool:
    """Whether a tensor is dense, in memory, of one real number each."""
    is_dense = value.layout == torch.strided and not value.is_quantized
    is_packed = _PACKED.fullmatch(str(value.dtype)) is not None
    is_real = not value.is_complex() and not is_packed
    return is_dense and not value.is_meta and is_real


def _num_not_finite(value: Tensor) -> int:
    # torch cannot ask this of float8; a wider float holds its values exactly.
    is_float8 = value.is_floating_point() and value.itemsize == 1
    wide = value.float() if is_float8 else value
    return int((~wide.isfinite()).sum())


def adapt_vit_state(
    vit: VisionTransformer, state: dict[str, Any], prefix: str
) -> None:
    """Fits a class-token checkpoint to a mean-pooled ViT, in place.

    What the config declares decides: without a class token the checkpoint's
    and its position are dropped; with ``final_norm=False``
    and a pool, the final norm becomes the norm behind the pool, as timm does
    it. Each change is logged. A checkpoint without a class token was pooled
    already, behind its final norm or before: that norm stays where it is.

    Args:
        vit: The network that loads.
        state: Its part of a state dict, keys with ``prefix``.
        prefix: Such as 'backbone.'.
    """
    token = f'{prefix}cls_token'
    if token not in state:
        return
    if not vit.with_cls_token:
        del state[token]
        position = state.get(f'{prefix}pos_embed')
        if isinstance(position, Tensor) and position.ndim == 3:
            state[f'{prefix}pos_embed'] = position[:, 1:]
        print_log(f'{token}: dropped, the network has none', 'current')
    if vit.final_norm or vit.out_type != 'avg_featmap':
        return
    for name in ('weight', 'bias'):
        old, new = f'{prefix}ln1.{name}', f'{prefix}ln2.{name}'
        if old in state and new not in state:
            state[new] = state.pop(old)
            print_log(f'{old}: now {new}, behind the pool', 'current')


def check_state_dict(
    module: nn.Module,
    state: dict[str, Any],
    prefix: str = '',
    may_miss: Collection[str] = (),
) -> None:
    """Raises unless a state dict has the keys and shapes of a module.

    Only a position embedding may differ, in its number of tokens if both
    are square grids: mmpretrain resizes it and logs that.

    Args:
        module: The module that loads.
        state: A state dict; keys outside ``prefix`` are not looked at.
        prefix: Of the module's keys in ``state``.
        may_miss: Keys of the module that need not be there.

    Raises:
        CheckpointError: Names the first few missing, unexpected or
            misshapen keys and what to do, or the weights that are NaN or of
            another kind of numbers.
    """
    own = module.state_dict()
    given = {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(prefix)
    }
    shapes = [
        f'{key}: {_kind(given[key])} for {_kind(own[key])}'
        for key in own.keys() & given.keys()
        if not _fits(module, key, given[key], own[key])
    ]
    kinds = [
        f'{key}: {_kind(given[key])}'
        for key in own.keys() & given.keys()
        if isinstance(given[key], Tensor)
        and given[key].is_floating_point() != own[key].is_floating_point()
    ]
    missing = own.keys() - given.keys() - set(may_miss)
    unexpected = given.keys() - own.keys()
    if not (shapes or kinds or missing or unexpected):
        require_sound(given)
        return
    raise CheckpointError(
        f'this checkpoint does not fit {type(module).__name__}'
        + _list('missing', missing)
        + _list('unexpected', unexpected)
        + _list('of another shape', shapes)
        + _list('of another kind of numbers', kinds)
        + _advice(own, given)
    )


def _fits(module: nn.Module, key: str, given: Any, own: Tensor) -> bool:
    if not isinstance(given, Tensor):
        return False
    if given.shape == own.shape:
        return True
    path, _, name = key.rpartition('.')
    if name == '_extra_state':  # of any length; its module reads it
        return given.ndim == 1 and given.dtype == own.dtype
    if name != 'pos_embed' or given.ndim != 3:
        return False
    extra = getattr(module.get_submodule(path), 'num_extra_tokens', 0)
    patches = given.shape[1] - extra
    is_grid = patches > 0 and isqrt(patches) ** 2 == patches
    one_of_each = given.shape[0] == 1 and given.shape[2] == own.shape[2]
    return is_grid and one_of_each


def _kind(value: Any) -> str:
    """Shape and, unless it is usual, type of the numbers."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    shape = str(tuple(value.shape))
    if value.is_floating_point() and is_plain(value):
        return shape
    return f'{shape} {value.dtype} {value.device} {value.layout}'


def _list(what: str, keys: Iterable[str]) -> str:
    names = sorted(keys)
    if not names:
        return ''
    more = ', ...' if len(names) > _SHOWN else ''
    return f'; {len(names)} {what}: {", ".join(names[:_SHOWN])}{more}'


def _advice(own: dict[str, Any], given: dict[str, Any]) -> str:
    """What the user probably meant."""
    for start in ('backbone.', 'module.', 'model.'):
        found = {
            key.removeprefix(start) for key in given if key.startswith(start)
        }
        if len(found & own.keys()) > len(own) // 2:
            return (
                f'. Its keys start with {start!r}: give prefix={start!r} in '
                'init_cfg'
            )
    if _norms_before_pool(own, given):
        return (
            '. Its tokens are normed before the mean: take '
            "out_type='featmap' and final_norm=True, which is the default, "
            "with neck=dict(type='GlobalAveragePooling')"
        )
    if any(key.startswith('blocks.') for key in given):
        return (
            ". These are timm's names: convert the checkpoint to "
            "mmpretrain's first, with tools/convert.py"
        )
    if not given:
        return '. It holds no weights for this network'
    return ''


def _norms_before_pool(own: dict[str, Any], given: dict[str, Any]) -> bool:
    """Whether only the checkpoint has its final norm before the pool."""
    ends = {'ln1.weight', 'ln2.weight'}
    found, needed = (
        {key.removeprefix('backbone.') for key in keys} & ends
        for keys in (given.keys() - own.keys(), own.keys() - given.keys())
    )
    return found == {'ln1.weight'} and needed == {'ln2.weight'}
