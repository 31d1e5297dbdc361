"""Names of the .npz files of the ViT and augreg papers (JAX, flax)."""

import re
from collections.abc import Mapping

from torch import Tensor

from eavit_mm.weights.renaming import join_qkv, rename

_LAYER = r'Transformer/encoderblock_(\d+)/'
_HERE = r'backbone.layers.\1.'
_ATTENTION = r'MultiHeadDotProductAttention_[01]/'
_FFN = r'MlpBlock_[03]/'
# vision_transformer's modules are numbered in order of appearance; big_vision
# numbers each kind for itself, hence 0 or 1, 1 or 2, 0 or 3.
_RULES: dict[str, str | None] = {
    r'cls': 'backbone.cls_token',
    r'(?:Transformer/posembed_input/)?pos_embedding': 'backbone.pos_embed',
    r'embedding/(weight|bias)': r'backbone.patch_embed.projection.\1',
    _LAYER + r'LayerNorm_0/(.*)': _HERE + r'ln1.\2',
    _LAYER + r'LayerNorm_[12]/(.*)': _HERE + r'ln2.\2',
    _LAYER + _ATTENTION + r'([qkv])(?:uery|ey|alue)/(.*)': (
        _HERE + r'attn.\2.\3'
    ),
    _LAYER + _ATTENTION + r'out/(.*)': _HERE + r'attn.proj.\2',
    _LAYER + _FFN + r'Dense_0/(.*)': _HERE + r'ffn.layers.0.0.\2',
    _LAYER + _FFN + r'Dense_1/(.*)': _HERE + r'ffn.layers.1.\2',
    r'Transformer/encoder_norm/(.*)': r'backbone.ln1.\1',
    r'head/(.*)': r'head.layers.head.\1',
    r'pre_logits/(.*)': r'head.layers.pre_logits.\1',
}


def from_flax(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """From flax's names and shapes to mmpretrain's.

    Of google-research/vision_transformer, and of big_vision, whose layers
    may be stacked along a first axis.

    Args:
        weights: Names such as ``Transformer/encoderblock_0/LayerNorm_0/scale``
            to arrays: kernels map from the front axes to the back ones,
            attention has axes (C, H, D) or (H, D, C).

    Returns:
        The weights of a classifier with a ``VisionTransformerClsHead``, as
        far as they are there.

    Raises:
        ValueError: If a weight has no place there.
    """
    plain = {
        re.sub(r'^(opt/target/|params/)', '', name): weight
        for name, weight in weights.items()
        if not name.startswith('opt/state/')
    }
    single = _unstack(plain)
    weights = dict(_to_torch(name, array) for name, array in single.items())
    return join_qkv(rename(weights, _RULES))


def _unstack(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One entry per layer for what big_vision stacks along axis 0."""
    start = 'Transformer/encoderblock/'
    single: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if not name.startswith(start):
            single[name] = weight
            continue
        for i, layer in enumerate(weight):
            single[f'Transformer/encoderblock_{i}/{name[len(start) :]}'] = (
                layer
            )
    return single


def _to_torch(name: str, array: Tensor) -> tuple[str, Tensor]:
    """A flax parameter as torch has it."""
    path, _, kind = name.rpartition('/')
    module = path.rpartition('/')[2]
    if kind == 'scale':
        return f'{path}/weight', array
    if kind == 'kernel':
        return f'{path}/weight', _kernel_to_weight(module, array)
    if kind == 'bias':
        return name, array.flatten()  # (H, D) of attention
    return name, array


def _kernel_to_weight(module: str, kernel: Tensor) -> Tensor:
    if module == 'embedding':
        # (h, w, in, out) -> (out, in, h, w)
        return kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel
    if module == 'out':
        return kernel.flatten(0, -2).T  # (H, D, C) -> (C, H D)
    return kernel.flatten(1).T  # (C, H, D) -> (H D, C)
