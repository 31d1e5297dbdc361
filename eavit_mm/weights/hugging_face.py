"""Hugging Face's names: ViT, DINO and DeiT (without distillation), DINOv2."""

import re
from collections.abc import Mapping

from torch import Tensor

from eavit_mm.weights.renaming import join_qkv, rename

# transformers 5 renamed the modules: `layers.0.attention.q_proj`; the files
# on the hub have `encoder.layer.0.attention.attention.query`. DINOv2 has
# `encoder.layer` with either.
_LAYER = r'(?:encoder\.layer|layers)\.(\d+)\.'
_HERE = r'backbone.layers.\1.'
_RULES: dict[str, str | None] = {
    r'embeddings\.cls_token': 'backbone.cls_token',
    r'embeddings\.position_embeddings': 'backbone.pos_embed',
    r'embeddings\.patch_embeddings\.(projection\..*)': (
        r'backbone.patch_embed.\1'
    ),
    _LAYER + r'(?:layernorm_before|norm1)\.(.*)': _HERE + r'ln1.\2',
    _LAYER + r'(?:layernorm_after|norm2)\.(.*)': _HERE + r'ln2.\2',
    _LAYER + r'attention\.attention\.([qkv])(?:uery|ey|alue)\.(.*)': (
        _HERE + r'attn.\2.\3'
    ),
    _LAYER + r'attention\.([qkv])_proj\.(.*)': _HERE + r'attn.\2.\3',
    _LAYER + r'attention\.(?:output\.dense|o_proj)\.(.*)': (
        _HERE + r'attn.proj.\2'
    ),
    _LAYER + r'(?:intermediate\.dense|mlp\.fc1)\.(.*)': (
        _HERE + r'ffn.layers.0.0.\2'
    ),
    _LAYER + r'(?:output\.dense|mlp\.fc2)\.(.*)': _HERE + r'ffn.layers.1.\2',
    _LAYER + r'layer_scale1\.lambda1': _HERE + 'attn.gamma1.weight',
    _LAYER + r'layer_scale2\.lambda1': _HERE + 'ffn.gamma2.weight',
    r'layernorm\.(.*)': r'backbone.ln1.\1',
    r'classifier\.(weight|bias)': r'head.layers.head.\1',
    r'embeddings\.mask_token|decoder\..*|pooler\..*': None,
}


def from_hugging_face(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """From Hugging Face's names to mmpretrain's.

    Their ViT takes ``layer_norm_eps=1e-12`` by default: give mmpretrain's
    ``norm_cfg`` the epsilon of the model's ``config.json``.

    Args:
        weights: Of a ``ViTModel`` or ``ViTForImageClassification``, in the
            names of the hub or those of transformers 5.

    Returns:
        The weights of a classifier with a ``VisionTransformerClsHead``, as
        far as they are there.

    Raises:
        ValueError: If a weight has no place there.
    """
    plain = {
        re.sub(r'^(vit|deit|dinov2)\.', '', name): weight
        for name, weight in weights.items()
    }
    renamed = join_qkv(rename(plain, _RULES))
    _refuse_wide_classifier(renamed)
    return renamed


def _refuse_wide_classifier(weights: Mapping[str, Tensor]) -> None:
    head = weights.get('head.layers.head.weight')
    norm = weights.get('backbone.ln1.weight')
    if head is None or norm is None or head.shape[1] == len(norm):
        return
    raise ValueError(
        f'classifier.weight: {head.shape[1]} inputs for {len(norm)} '
        "channels; DINOv2's classifier takes class token and mean together, "
        'which no head of mmpretrain does. Convert with --head none'
    )
