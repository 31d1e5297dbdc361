"""The one strict check of every state dict that a supernet loads.

mmengine loads ``load_from`` and ``init_cfg`` leniently: a wrong file trains
from scratch without a word. Here keys and shapes must fit before a weight is
touched, whoever loads.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from math import isqrt
from typing import Any

import torch
from mmengine.logging import print_log
from mmpretrain.models import VisionTransformer
from torch import Tensor, nn

# Types of torch whose elements are several numbers, or bits of one.
_PACKED = re.compile(r'torch\.(float4.*|bits.*|u?int[1-7])')


class CheckpointError(ValueError):
    """A checkpoint does not fit; whoever knows its file adds the name."""


def first_few(names: Iterable[Any], shown: int = 3) -> str:
    """The first names in order, for a message; '...' stands for more."""
    texts = sorted(str(name)[:80] for name in names)
    return ', '.join(texts[:shown] + ['...'] * (len(texts) > shown))


def plain_name(name: str) -> str:
    """A weight's name without what torch puts around modules at any depth."""
    around = r'_(orig_mod|fsdp_wrapped_module|checkpoint_wrapped_module)\.'
    return re.sub(around, '', name)


def unwrap_state(state: dict[str, Any], anchor: str) -> None:
    """Takes what a training script put around a whole model off its names.

    In place; ``anchor`` is the name of a weight that the model has.
    """
    plain = [name for name in map(plain_name, state) if name.endswith(anchor)]
    if len(plain) == 1:
        start = plain[0].removesuffix(anchor)
        for key in list(state):
            name = plain_name(key).removeprefix(start)
            if name not in state:
                state[name] = state.pop(key)


def is_square(patches: int) -> bool:
    """Whether so many patches can be a square grid."""
    return patches > 0 and isqrt(patches) ** 2 == patches


def require_sound(weights: Mapping[str, Any]) -> None:
    """Raises unless every weight is a tensor of finite numbers or integers."""
    broken = []
    for name, value in weights.items():
        if not isinstance(value, Tensor) or not _is_plain(value):
            broken.append(f'{name}: {_kind(value)}')
        elif number := _num_not_finite(value):
            broken.append(f'{name}: {number} NaN or infinite')
    if broken:
        raise CheckpointError(
            f'its weights are broken; {len(broken)} that are not finite '
            f'numbers: {first_few(broken)}'
        )


def _is_plain(value: Tensor) -> bool:
    """Whether a tensor is dense, in memory, of one real number each."""
    is_dense = value.layout == torch.strided and not value.is_quantized
    is_packed = _PACKED.fullmatch(str(value.dtype)) is not None
    is_real = not value.is_complex() and not is_packed
    return is_dense and not value.is_meta and is_real


def _num_not_finite(value: Tensor) -> int:
    # torch cannot ask this of float8; a wider float holds its values exactly.
    is_float8 = value.is_floating_point() and value.itemsize == 1
    return int((~(value.float() if is_float8 else value).isfinite()).sum())


def adapt_vit_state(
    vit: VisionTransformer, state: dict[str, Any], prefix: str
) -> None:
    """Fits a class-token checkpoint to a mean-pooled ViT, in place.

    The config decides: a network without a class token drops the
    checkpoint's and its position, but no registers; with
    ``final_norm=False`` and a pool, the final norm becomes the norm behind
    the pool, as in timm. Each change is logged. A checkpoint without a class
    token was pooled already, behind its final norm or before: that norm
    stays where it is.

    Feature maps without a final norm are taken before those of a pretrained
    backbone alone, which are dropped.

    Raises:
        CheckpointError: If the checkpoint has another number of registers.
    """
    if not prefix and vit.out_type == 'featmap' and not vit.final_norm:
        for name in ('ln1', 'ln2'):
            for key in (f'{name}.weight', f'{name}.bias'):
                if state.pop(key, None) is not None:
                    print_log(f'{key}: dropped, final_norm=False', 'current')
    token = f'{prefix}cls_token'
    tokens = state.get(token)
    if not isinstance(tokens, Tensor) or tokens.ndim != 3:
        return  # there is none, or it is refused
    given, own = tokens.shape[1], vit.num_extra_tokens
    if given == own and not vit.with_cls_token:  # registers alone, it seems
        print_log(f'{token}: taken for {own} registers', 'current')
        return
    registers = own - int(vit.with_cls_token)
    if given != 1 + registers:
        raise CheckpointError(
            f'{token}: num_register_tokens={registers}; must be the '
            f"checkpoint's {given - 1} ({given} if it has no class token)"
        )
    if not vit.with_cls_token:
        del state[token]
        if registers:
            state[token] = tokens[:, 1:]
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
    state: Mapping[str, Any],
    prefix: str = '',
    may_miss: Collection[str] = (),
) -> None:
    """Raises unless a state dict has the keys and shapes of a module.

    Only a position embedding may differ, in its number of tokens if both
    are square grids: the network resizes it and logs that.

    Args:
        module: The module that loads.
        state: A state dict; keys outside ``prefix`` are not looked at.
        prefix: What the module's keys in ``state`` start with.
        may_miss: Keys of the module that need not be there.

    Raises:
        CheckpointError: Names the first few keys that do not fit and what to
            do, or the weights that are broken.
    """
    own = module.state_dict()
    given = {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(prefix)
    }
    pairs = {key: (given[key], own[key]) for key in own.keys() & given.keys()}
    problems = {
        'missing': own.keys() - given.keys() - set(may_miss),
        'unexpected': given.keys() - own.keys(),
        'of another shape': [
            f'{key}: {_kind(new)} for {_kind(old)}'
            for key, (new, old) in pairs.items()
            if not _fits(module, key, new, old)
        ],
        'of another kind of numbers': [
            f'{key}: {_kind(new)}'
            for key, (new, old) in pairs.items()
            if isinstance(new, Tensor)
            and new.is_floating_point() != old.is_floating_point()
        ],
    }
    found = {what: keys for what, keys in problems.items() if keys}
    if found:
        texts = [f'this checkpoint does not fit {type(module).__name__}']
        for what, keys in found.items():
            few = first_few(keys, 3 if len(found) == 1 else 2)
            texts.append(f'{len(keys)} {what}: {few}')
        raise CheckpointError('; '.join(texts) + _advice(own, given))
    require_sound(given)


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
    one_of_each = given.shape[0] == 1 and given.shape[2] == own.shape[2]
    return one_of_each and is_square(given.shape[1] - extra)


def _kind(value: Any) -> str:
    """Shape and, unless it is usual, type of the numbers."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    shape = str(tuple(value.shape))
    if value.is_floating_point() and _is_plain(value):
        return shape
    return f'{shape} {value.dtype} {value.device} {value.layout}'


def _advice(own: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """What the user probably meant; '' if there is no telling."""
    if not given:
        return '. It holds no weights for this network'
    if any(f'backbone.{key}' in given for key in own):
        return ". Its keys start with 'backbone.': it is of a whole model"
    # Which norms only one of the two has.
    norm_found, norm_needed = (
        {key.removeprefix('backbone.') for key in keys}
        & {'ln1.weight', 'ln2.weight'}
        for keys in (given.keys() - own.keys(), own.keys() - given.keys())
    )
    if norm_found == {'ln1.weight'} and norm_needed == {'ln2.weight'}:
        return (
            ". Its tokens are normed before the mean: take out_type='featmap'"
            " and final_norm=True with neck=dict(type='GlobalAveragePooling')"
        )
    if any(key.startswith('blocks.') for key in given):
        return (
            ". These are timm's names: convert the checkpoint to "
            "mmpretrain's first, with tools/convert.py"
        )
    return ''
