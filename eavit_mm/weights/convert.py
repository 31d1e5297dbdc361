"""Weights of any known layout to mmpretrain's names, checked to be whole."""

import re
from collections import defaultdict
from collections.abc import Mapping
from itertools import product

from torch import Tensor

from eavit_mm.weights.layouts import LAYOUTS, MMPRETRAIN, layout_of, rename
from eavit_mm.weights.positions import fit_positions
from eavit_mm.weights.state_dict import first_few, require_sound

HEADS = ('linear', 'vit', 'none')
_BACKBONE = 'backbone.'
_VIT, _LINEAR = 'head.layers.head.', 'head.fc.'
# Pattern of a weight's name to the part that it shows, which mmpretrain's
# VisionTransformer has not. The first one counts.
_REFUSED = {
    r'dist_token|head_dist|distillation|cls_classifier': (
        'a distilled DeiT, which has a second token and head; take the '
        'checkpoint without distillation'
    ),
    r'reg_tokens?$|register_tokens': 'register tokens',
    r'patch_embed\.backbone|conv_root': (
        'a hybrid, whose patches come from a ResNet'
    ),
    r'layers\.\d+\.(blocks|downsample)|stages\.': (
        'a hierarchical network (Swin, ConvNeXt, ...)'
    ),
    r'rel_pos|relative_position': (
        'relative positions (BEiT, or a ViT with rel_pos)'
    ),
    r'\.(q|k|query|key)_norm\.': 'norms of queries and keys (qk_norm)',
    r'rope|rotary|freqs_cis': 'rotary positions (EVA-02, DINOv3)',
    r'\.(q|v)_bias|blocks\.\d+\.attn\.[qkv]_proj': (
        'separate biases of queries and values (EVA, BEiT)'
    ),
    r'mlp\.(fc1_[gx]|w1|w2|gate_proj|up_proj|weights_in)\.': (
        'a gated FFN (SwiGLU) in a form that mmpretrain has not'
    ),
    r'attn_pool|MAPHead': 'attention pooling (SigLIP)',
    r'blocks\.\d+\.(attn|mlp)\.norm\.|norm_mlp': (
        'norms inside of attention or FFN'
    ),
    r'blocks\.\d+\.(attns|ffns)\.|blocks\.\d+\.in_proj': ('parallel branches'),
    r'patch_embed\.conv|patch_embed\.proj\.\d': (
        'patches embedded by several convolutions'
    ),
    r'^visual\.|text_model|vision_model|(^|/)(txt|img)/': (
        'a network of images and text (CLIP, SigLIP)'
    ),
    r'MixerBlock|mlp_tokens': 'an MLP-Mixer',
    r'blocks_token_only|token_norm': 'class attention (CaiT)',
    r'lora_[AB]': 'LoRA weights; merge them into the network first',
}


def convert_weights(
    weights: Mapping[str, Tensor],
    head: str | None = None,
    prefix: str = _BACKBONE,
    class_position: bool | None = None,
    num_patches: int | None = None,
) -> dict[str, Tensor]:
    """Renames a ViT's weights so that mmpretrain's load them.

    Args:
        weights: As :func:`eavit_mm.weights.read_weights` returns them.
        head: 'linear' names it for ``LinearClsHead``, 'vit' for
            ``VisionTransformerClsHead``, 'none' leaves it out; None: as
            'linear', if there is a head.
        prefix: What the backbone's names start with in the result.
        class_position: Whether the class token has a position; None: told
            from the names and the numbers of rows.
        num_patches: Patches of the network that is to load them, if it is
            known; it helps to tell.

    Returns:
        Tensors of their own under mmpretrain's names.

    Raises:
        ValueError: If the names are not known, or the network is one that
            mmpretrain's ``VisionTransformer`` cannot express; says which.
            If a weight is missing or not finite, or the head does not fit
            the choice. If the weights leave open whether the class token has
            a position.
    """
    for (pattern, what), name in product(_REFUSED.items(), sorted(weights)):
        if re.search(pattern, name):
            raise ValueError(
                f'cannot be converted: {name} belongs to {what}; '
                "mmpretrain's VisionTransformer cannot express it"
            )
    layout = layout_of(weights)
    if layout == MMPRETRAIN:
        raise ValueError(
            "these weights have mmpretrain's names already; load them as "
            'they are'
        )
    if layout is None:
        raise ValueError(
            'not the names of a ViT that can be converted (known are '
            f"{', '.join(LAYOUTS)}'s): {first_few(weights)}"
        )
    renamed = rename(weights, layout)
    _check_complete(renamed)
    renamed = fit_positions(renamed, weights, class_position, num_patches)
    # Copies: a converted checkpoint holds no view of a larger tensor.
    return {
        re.sub(f'^{_BACKBONE}', lambda _: prefix, name): (
            weight.detach().clone().contiguous()
        )
        for name, weight in _place_head(renamed, head).items()
    }


def _check_complete(weights: Mapping[str, Tensor]) -> None:
    """Raises if a backbone lacks a weight that its others imply, or has NaN.

    Its names are mmpretrain's, with ``backbone.``.
    """
    require_sound(weights)
    patch = weights.get('backbone.patch_embed.projection.weight')
    if patch is None or patch.ndim != 4:
        shape = None if patch is None else tuple(patch.shape)
        raise ValueError(
            f'patch embedding: weight of shape {shape}; mmpretrain has a '
            'convolution (channels, colours, height, width)'
        )
    layers: dict[int, set[str]] = defaultdict(set)
    for name in weights:
        match = re.match(r'backbone\.layers\.(\d+)\.(.*)', name)
        if match is not None:
            layers[int(match[1])].add(match[2])
    if not layers:
        raise ValueError('there are no layers')
    # Layers are alike: each must have what any other one has.
    every = {'attn.qkv.weight', 'attn.proj.weight'}.union(*layers.values())
    every |= {f'ln{i}.{kind}' for i in (1, 2) for kind in ('weight', 'bias')}
    missing = [
        f'layers.{i}.{name}'
        for i in range(max(layers) + 1)
        for name in every - layers[i]
    ]
    # Which norms stand outside of the layers, the network chooses.
    for norm in ('ln1', 'ln2', 'pre_norm'):
        both = {f'{norm}.weight', f'{norm}.bias'}
        found = {name for name in both if f'backbone.{name}' in weights}
        missing += both - found if found else ()
    if missing:
        raise ValueError(
            f'{len(missing)} weights are missing (in mmpretrain names): '
            f'{first_few(missing)}'
        )
    for i in layers:
        first, second = (
            weights.get(f'backbone.layers.{i}.ffn.layers.{name}.weight')
            for name in ('0.0', '1')
        )
        if first is None or second is None:
            continue  # a SwiGLU in mmpretrain's own names
        # Gates and values of a SwiGLU side by side.
        if len(first) == 2 * second.shape[1]:
            raise ValueError(
                f'layers.{i}: a gated FFN (SwiGLU) packed by timm; which '
                'activation gates it does not stand in the file. The DINOv2 '
                "release's own file (mlp.w12, mlp.w3) can be converted"
            )


def _place_head(
    weights: Mapping[str, Tensor], head: str | None
) -> dict[str, Tensor]:
    """Names a head as one of mmpretrain's classes does, or leaves it out."""
    if head not in (*HEADS, None):
        raise ValueError(f'head={head!r}; choose from {", ".join(HEADS)}')
    heads = {k: w for k, w in weights.items() if k.startswith('head.')}
    if head == 'none' or (head is None and not heads):
        return {k: w for k, w in weights.items() if k not in heads}
    last = heads.get(f'{_VIT}weight')
    if last is None:
        raise ValueError(
            f'head={head or "linear"}: there is no classifier among these '
            'weights; take head=none'
        )
    has_hidden = any('pre_logits' in name for name in heads)
    channels = len(weights['backbone.patch_embed.projection.weight'])
    if not has_hidden and last.shape[1] != channels:
        raise ValueError(
            f'the classifier has {last.shape[1]} inputs for {channels} '
            "channels; DINOv2's takes class token and mean together, which "
            'no head of mmpretrain does: take head=none'
        )
    if head == 'vit':
        return dict(weights)
    if has_hidden:
        raise ValueError(
            'the head has a hidden layer (pre_logits), which LinearClsHead '
            'has not: take head=vit (VisionTransformerClsHead with '
            'hidden_dim), or none'
        )
    return {k.replace(_VIT, _LINEAR): w for k, w in weights.items()}
