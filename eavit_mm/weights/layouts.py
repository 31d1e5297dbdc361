"""Names of other libraries' ViTs, and the same weights in mmpretrain's.

Whatever matches no rule is an error: nothing is left over in silence.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mmengine.logging import print_log
from torch import Tensor, cat

from eavit_mm.weights.state_dict import first_few

MMPRETRAIN = 'mmpretrain'


class Layout(NamedTuple):
    r"""The names of one library, and ours for the same weights.

    Patterns match the start of a name, up to 'weight' or 'bias'; in a new
    name ``\1`` is the pattern's first group. The first that matches counts.

    Attributes:
        anchor: End of the name of a weight that every ViT of it has.
        prefix: Pattern of what may stand in front of all names.
        layer: Pattern of the start of names in a layer; finds its number.
        in_layer: Their names within a layer to ours.
        outside: Their other names to ours.
        dropped: Pattern of whole names that only pretraining needs.
    """

    anchor: str
    prefix: str
    layer: str
    in_layer: dict[str, str]
    outside: dict[str, str]
    dropped: str


# timm, and the releases of DeiT, DINO, MAE and DINOv2.
_TIMM = Layout(
    anchor='patch_embed.proj.weight',
    prefix=r'backbone\.',  # of DINO's training checkpoints
    layer=r'blocks\.(\d+)\.',
    in_layer={
        r'norm1\.': 'ln1.',
        r'norm2\.': 'ln2.',
        r'attn\.(qkv|proj)\.': r'attn.\1.',
        r'mlp\.fc1\.': 'ffn.layers.0.0.',
        r'mlp\.fc2\.': 'ffn.layers.1.',
        # SwiGLU as in the DINOv2 release; mmpretrain has its names.
        r'mlp\.(w12|w3)\.': r'ffn.\1.',
        # Layer scale of timm, and of the DeiT III release.
        r'ls1\.gamma|gamma_1': 'attn.gamma1.weight',
        r'ls2\.gamma|gamma_2': 'ffn.gamma2.weight',
    },
    outside={
        r'cls_token': 'backbone.cls_token',
        r'pos_embed': 'backbone.pos_embed',
        r'patch_embed\.proj\.': 'backbone.patch_embed.projection.',
        r'patch_embed\.norm\.': 'backbone.patch_embed.norm.',
        r'norm_pre\.': 'backbone.pre_norm.',
        r'norm\.': 'backbone.ln1.',
        # The norm behind a mean pool: mmpretrain's ln2 with final_norm=False.
        r'fc_norm\.': 'backbone.ln2.',
        r'head\.': 'head.layers.head.',
        r'pre_logits\.fc\.': 'head.layers.pre_logits.',
    },
    # Heads of DINO, mask tokens and decoders of masked pretraining.
    dropped=r'head\.(mlp|last_layer)\..*|(dino|ibot)_head\..*'
    r'|mask_token|decoder_.*',
)

# ViT, DINO and DeiT (without distillation), DINOv2. transformers 5 renamed
# the modules: `layers.0.attention.q_proj`; the files on the hub have
# `encoder.layer.0.attention.attention.query`. DINOv2 has `encoder.layer` with
# either.
_HUGGING_FACE = Layout(
    anchor='embeddings.patch_embeddings.projection.weight',
    prefix=r'(vit|deit|dinov2)\.',
    layer=r'(?:encoder\.layer|layers)\.(\d+)\.',
    in_layer={
        r'(layernorm_before|norm1)\.': 'ln1.',
        r'(layernorm_after|norm2)\.': 'ln2.',
        r'attention\.attention\.([qkv])(uery|ey|alue)\.': r'attn.\1.',
        r'attention\.([qkv])_proj\.': r'attn.\1.',
        r'attention\.(output\.dense|o_proj)\.': 'attn.proj.',
        r'(intermediate\.dense|mlp\.fc1)\.': 'ffn.layers.0.0.',
        r'(output\.dense|mlp\.fc2)\.': 'ffn.layers.1.',
        r'layer_scale1\.lambda1': 'attn.gamma1.weight',
        r'layer_scale2\.lambda1': 'ffn.gamma2.weight',
    },
    outside={
        r'embeddings\.cls_token': 'backbone.cls_token',
        r'embeddings\.position_embeddings': 'backbone.pos_embed',
        r'embeddings\.patch_embeddings\.(projection)\.': (
            r'backbone.patch_embed.\1.'
        ),
        r'layernorm\.': 'backbone.ln1.',
        r'classifier\.': 'head.layers.head.',
    },
    dropped=r'embeddings\.mask_token|decoder\..*|pooler\..*',
)

# The .npz files of the ViT and augreg papers, and big_vision's (JAX).
# vision_transformer's modules are numbered in order of appearance; big_vision
# numbers each kind for itself, hence 0 or 1, 1 or 2, 0 or 3.
_FLAX = Layout(
    anchor='embedding/kernel',
    prefix=r'opt/target/|params/',
    layer=r'Transformer/encoderblock_(\d+)/',
    in_layer={
        r'LayerNorm_0/': 'ln1.',
        r'LayerNorm_[12]/': 'ln2.',
        r'MultiHeadDotProductAttention_[01]/([qkv])(uery|ey|alue)/': (
            r'attn.\1.'
        ),
        r'MultiHeadDotProductAttention_[01]/out/': 'attn.proj.',
        r'MlpBlock_[03]/Dense_0/': 'ffn.layers.0.0.',
        r'MlpBlock_[03]/Dense_1/': 'ffn.layers.1.',
    },
    outside={
        r'cls': 'backbone.cls_token',
        r'(Transformer/posembed_input/)?pos_embedding': 'backbone.pos_embed',
        r'embedding/': 'backbone.patch_embed.projection.',
        r'Transformer/encoder_norm/': 'backbone.ln1.',
        r'head/': 'head.layers.head.',
        r'pre_logits/': 'head.layers.pre_logits.',
    },
    dropped=r'opt/state/.*',  # of the optimizer
)

LAYOUTS = {'timm': _TIMM, 'Hugging Face': _HUGGING_FACE, 'flax': _FLAX}


def layout_of(names: Iterable[str]) -> str | None:
    """The library: a key of :data:`LAYOUTS`, 'mmpretrain', None: unknown."""
    anchors = {name: layout.anchor for name, layout in LAYOUTS.items()}
    anchors[MMPRETRAIN] = 'patch_embed.projection.weight'
    names = list(names)
    for library, anchor in anchors.items():
        pattern = re.compile(rf'(.*[./])?{re.escape(anchor)}')
        if any(pattern.fullmatch(name) for name in names):
            return library
    return None


def rename(weights: Mapping[str, Tensor], library: str) -> dict[str, Tensor]:
    """Gives the weights of a known library mmpretrain's names and shapes.

    Returns:
        The weights of a classifier with a ``VisionTransformerClsHead``, as
        far as they are there.

    Raises:
        ValueError: If a weight has no place there, two have the same one, or
            a query, key or value is missing.
    """
    layout = LAYOUTS[library]
    if layout is _FLAX:
        weights = _to_torch(weights)
    renamed: dict[str, Tensor] = {}
    left, dropped = [], []
    for full_name, weight in weights.items():
        name = re.sub(f'^({layout.prefix})', '', full_name)
        new = _new_name(layout, name)
        if re.fullmatch(layout.dropped, name):
            dropped.append(name)
        elif new is None:
            left.append(name)
        elif new in renamed:
            raise ValueError(f'{full_name}: there are two weights for {new}')
        else:
            renamed[new] = weight
    if left:
        raise ValueError(
            "no place in mmpretrain's VisionTransformer for "
            f'{len(left)} weights: {first_few(left)}'
        )
    if dropped:
        text = f'dropped, of pretraining only: {first_few(dropped)}'
        print_log(text, 'current')
    return _join_qkv(renamed)


def _new_name(layout: Layout, name: str) -> str | None:
    """The name in mmpretrain; None if no rule knows the weight."""
    start, rest, rules = '', name, layout.outside
    layer = re.match(layout.layer, name)
    if layer is not None:
        start, rest = f'backbone.layers.{layer[1]}.', name[layer.end() :]
        rules = layout.in_layer
    for old, new in rules.items():
        match = re.fullmatch(rf'(?:{old})(?P<kind>(weight|bias)?)', rest)
        if match is not None:
            return start + match.expand(new) + match['kind']
    return None


def _join_qkv(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Joins ``attn.q``, ``attn.k``, ``attn.v`` to ``attn.qkv``.

    Three of shape (H D, C) or (H D,) become one, (3 H D, C) or (3 H D,).
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


def _to_torch(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Flax parameters as torch has them, one entry per layer.

    Kernels map from the front axes to the back ones: (in, out), of attention
    (C, H, D) or (H, D, C), of the patch embedding (h, w, in, out).
    """
    found: dict[str, Tensor] = {}
    for name, array in arrays.items():
        # big_vision stacks its layers along a first axis.
        start, stacked, end = name.partition('Transformer/encoderblock/')
        layers = [(name, array)]
        if stacked:
            block = f'{start}Transformer/encoderblock_'
            layers = [(f'{block}{i}/{end}', a) for i, a in enumerate(array)]
        for layer, value in layers:
            path, _, kind = layer.rpartition('/')
            if kind == 'kernel':
                value = _kernel_to_weight(path.rpartition('/')[2], value)
            elif kind == 'bias':
                value = value.flatten()  # (H, D) of attention
            is_weight = kind in ('kernel', 'scale')
            found[f'{path}/weight' if is_weight else layer] = value
    return found


def _kernel_to_weight(module: str, kernel: Tensor) -> Tensor:
    if module == 'embedding':
        # (h, w, in, out) -> (out, in, h, w)
        return kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel
    if module == 'out':
        return kernel.flatten(0, -2).T  # (H, D, C) -> (C, H D)
    return kernel.flatten(1).T  # (C, H, D) -> (H D, C)
