"""What mmpretrain's VisionTransformer cannot express, by name."""

import re
from collections.abc import Iterable

# Pattern of a weight's name to what it belongs to. The first one counts.
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


def refuse_by_name(names: Iterable[str]) -> None:
    """Raises if a network has parts that cannot be converted.

    Raises:
        ValueError: Says what the part is and which weight shows it.
    """
    names = sorted(names)
    for pattern, what in _REFUSED.items():
        for name in names:
            if re.search(pattern, name):
                raise ValueError(
                    f'cannot be converted: {name} belongs to {what}; '
                    "mmpretrain's VisionTransformer cannot express it"
                )
