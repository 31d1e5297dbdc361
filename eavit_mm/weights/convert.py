"""Weights of any known layout to mmpretrain's names, checked to be whole."""

import logging
import re
from collections import defaultdict
from collections.abc import Mapping
from itertools import product

from mmengine.logging import print_log
from torch import Tensor

from eavit_mm.options import check_choice
from eavit_mm.weights.layouts import (
    MMPRETRAIN,
    find_network,
    log_left_out,
    rename,
)
from eavit_mm.weights.positions import fit_positions
from eavit_mm.weights.state_dict import first_few, require_sound

# Nothing in a file shows that such a network turns queries and keys.
_ROPE_APE = 'vit_*_patch16_rope_ape_224 of timm'
HEADS = ('linear', 'vit', 'none', None)
_BACKBONE = 'backbone.'
_VIT, _LINEAR = 'head.layers.head.', 'head.fc.'
# Names beside which a classifier reads what no head of mmpretrain is given:
# pools of SigLIP; CLIP's reads the mean of tokens in front of the last norm.
_POOLED = re.compile(r'attn_pool\.|MAPHead_\d/|embeddings\.class_embedding')
# Pattern of a weight's name to the part that it shows, which mmpretrain's
# VisionTransformer has not. The first one counts.
_REFUSED = {
    r'dist_token|head_dist|distillation|cls_classifier': (
        'a distilled DeiT, with a second token and head'
    ),
    r'patch_embed\.backbone|conv_root': 'a hybrid, with a ResNet in front',
    r'layers\.\d+\.(blocks|downsample)|stages\.': 'a hierarchical network',
    r'rel_pos|relative_position': 'relative positions (BEiT, rel_pos)',
    r'\.(q|k|query|key)_norm\.': 'norms of queries and keys (qk_norm)',
    # DINOv3 on the hub has no other sign.
    r'rope|rotary|freqs_cis|embeddings\.patch_embeddings\.weight': (
        'rotary positions (EVA-02, DINOv3)'
    ),
    r'\.(q|v)_bias|blocks\.\d+\.attn\.[qkv]_proj': (
        'separate biases of queries and values (EVA, BEiT)'
    ),
    r'mlp\.(fc1_[gx]|w1|w2)\.': 'another gated FFN (SwiGLU)',
    r'blocks\.\d+\.(attn|mlp)\.norm\.|norm_mlp': (
        'norms inside of attention or FFN'
    ),
    r'blocks\.\d+\.(attns|ffns)\.|blocks\.\d+\.in_proj': 'parallel branches',
    r'patch_embed\.conv|patch_embed\.proj\.\d': (
        'patches embedded by several convolutions'
    ),
    r'blocks_token_only|token_norm': 'class attention (CaiT)',
    r'attn\.lambda_': 'differential attention',
    r'lora_[AB]': 'LoRA weights; merge them into the network first',
}
# What every layer has.
_IN_LAYERS = {
    *('attn.qkv.weight', 'attn.proj.weight', 'ln1.weight', 'ln1.bias'),
    *('ln2.weight', 'ln2.bias'),
}


def convert_weights(
    weights: Mapping[str, Tensor],
    head: str | None = None,
    prefix: str = _BACKBONE,
    class_position: bool | None = None,
    num_patches: int | None = None,
    start: str = '',
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
        start: What the names of the network start with, if there are several.

    Returns:
        Tensors of their own under mmpretrain's names.

    Raises:
        ValueError: If the names are not known, or of a network that
            mmpretrain's ``VisionTransformer`` cannot express; if a weight is
            missing or not finite, or the head does not fit the choice; if it
            is open whether the class token has a position.
    """
    library, start = find_network(weights, start)
    if library == MMPRETRAIN:
        raise ValueError(
            "these weights have mmpretrain's names already; copy the file, or "
            'name it, as it is'
        )
    inside = [k.removeprefix(start) for k in weights if k.startswith(start)]
    _refuse_parts(inside)
    if library in ('timm', 'CLIP'):
        _refuse_look_alikes(inside)
    try:
        renamed, left_out = rename(weights, library, start)
        _check_complete(renamed)
        renamed = fit_positions(renamed, inside, class_position, num_patches)
        placed = _place_head(renamed, head, any(map(_POOLED.match, inside)))
    except (IndexError, RuntimeError, TypeError) as error:
        text = f'a weight has another shape than in a ViT: {error}'
        raise ValueError(text) from error
    if head == 'none':
        left_out += [name for name in renamed if name not in placed]
    log_left_out(left_out, start)
    # Copies: a converted checkpoint holds no view of a larger tensor.
    return {
        re.sub(f'^{_BACKBONE}', lambda _: prefix, name): (
            weight.detach().clone().contiguous()
        )
        for name, weight in placed.items()
    }


def _check_complete(weights: Mapping[str, Tensor]) -> None:
    """Raises if a backbone has NaN, or lacks what its other weights imply."""
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
    every = _IN_LAYERS.union(*layers.values())
    missing = [
        f'layers.{i}.{name}'
        for i in range(min(max(layers), len(layers)) + 1)
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
    first, second = 'ffn.layers.0.0.weight', 'ffn.layers.1.weight'
    for i in layers if {first, second} <= every else ():
        start = f'backbone.layers.{i}.'
        hidden = weights[start + second].shape[1]
        # Gates and values of a SwiGLU side by side.
        if len(weights[start + first]) == 2 * hidden:
            raise ValueError(
                f'layers.{i}: a gated FFN (SwiGLU) packed by timm, whose '
                "activation is not told; take the DINOv2 release's file "
                "(mlp.w12, mlp.w3) or Hugging Face's"
            )


def _refuse_parts(names: list[str]) -> None:
    """Raises if a name belongs to what mmpretrain's network has not."""
    for (pattern, what), name in product(_REFUSED.items(), sorted(names)):
        if re.search(pattern, name):
            raise ValueError(
                f'cannot be converted: {name} belongs to {what}; '
                "mmpretrain's VisionTransformer cannot express it"
            )


def _refuse_look_alikes(names: list[str]) -> None:
    """Raises if a network has a ViT's names, but may compute something else.

    The order of a layer's parts in the file shows where its norms stand. That
    of the alphabet (safetensors) does not; then what the published networks
    have or lack tells.
    """

    def has(pattern: str) -> bool:
        return any(re.match(pattern, name) for name in names)

    parts = [re.match(r'blocks\.0\.(norm1|attn|mlp)\.', k) for k in names]
    order = list(dict.fromkeys(part[1] for part in parts if part))
    is_sorted = order[:1] == ['attn']
    has_token = has('cls_token|class_embedding')
    ends_in_norm = has(r'(fc_)?norm\.|ln_post')
    lacks = not (has_token or has(r'blocks\.0\.(attn\.qkv\.bias|ls1|gamma)'))
    is_scaled = has(r'blocks\.0\.gamma_1')
    look_alikes = {
        'norms behind the branches (vit_base_patch16_rpn_224 of timm)': (
            order == ['attn', 'norm1', 'mlp'] or (is_sorted and lacks)
        ),
        f'rotary positions ({_ROPE_APE})': is_sorted and is_scaled,
        'rotary positions (Perception Encoder)': (
            (has_token and has('attn_pool'))
            or (has('norm_pre|ln_pre') and not (has_token and ends_in_norm))
        ),
        'rotary positions (Qwen3-VL)': not (has_token or ends_in_norm),
    }
    for what, is_alike in look_alikes.items():
        if is_alike:
            raise ValueError(
                f'may be of a network with {what}, which mmpretrain has not; '
                'if it has none, torch.save its state_dict() as it is'
            )
    if is_scaled:
        text = (
            f'gamma_1: taken for the layer scale of DeiT III; {_ROPE_APE} has '
            'the same names and shapes, but rotary positions too, which no '
            'file tells: of that, the result would be another network'
        )
        print_log(text, 'current', logging.WARNING)


def _place_head(
    weights: Mapping[str, Tensor], head: str | None, has_other_input: bool
) -> dict[str, Tensor]:
    """Names a head as one of mmpretrain's classes does, or leaves it out."""
    check_choice('head', head, HEADS)
    heads = [name for name in weights if name.startswith('head.')]
    if head == 'none' or (head is None and not heads):
        return {k: w for k, w in weights.items() if k not in heads}
    last = weights.get(f'{_VIT}weight')
    if last is None:
        raise ValueError(
            f'head={head or "linear"}: there is no classifier among these '
            'weights; take head=none'
        )
    has_hidden = any('pre_logits' in name for name in heads)
    C = len(weights['backbone.patch_embed.projection.weight'])
    if has_other_input or not (has_hidden or last.shape[1:] == (C,)):
        raise ValueError(
            f'the classifier, of shape {tuple(last.shape)} for {C} channels, '
            "reads what no head of mmpretrain is given (SigLIP's pool, CLIP's "
            "mean, DINOv2's token and mean); take head=none"
        )
    if head == 'vit':
        return dict(weights)
    if has_hidden:
        raise ValueError(
            'the head has a hidden layer (pre_logits): take head=vit '
            '(VisionTransformerClsHead with hidden_dim), or none'
        )
    return {k.replace(_VIT, _LINEAR): w for k, w in weights.items()}
