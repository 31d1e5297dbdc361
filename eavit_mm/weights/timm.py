"""timm's names, which DeiT, DINO, MAE and DINOv2 have too."""

from collections.abc import Mapping

from torch import Tensor

from eavit_mm.weights.renaming import rename

_LAYER = r'blocks\.(\d+)\.'
_HERE = r'backbone.layers.\1.'
_RULES: dict[str, str | None] = {
    r'(cls_token|pos_embed)': r'backbone.\1',
    r'patch_embed\.proj\.(.*)': r'backbone.patch_embed.projection.\1',
    r'patch_embed\.norm\.(.*)': r'backbone.patch_embed.norm.\1',
    r'norm_pre\.(.*)': r'backbone.pre_norm.\1',
    _LAYER + r'norm([12])\.(.*)': _HERE + r'ln\2.\3',
    _LAYER + r'attn\.(qkv|proj)\.(.*)': _HERE + r'attn.\2.\3',
    _LAYER + r'mlp\.fc1\.(.*)': _HERE + r'ffn.layers.0.0.\2',
    _LAYER + r'mlp\.fc2\.(.*)': _HERE + r'ffn.layers.1.\2',
    # SwiGLU as in the DINOv2 release; mmpretrain has its names.
    _LAYER + r'mlp\.(w12|w3)\.(.*)': _HERE + r'ffn.\2.\3',
    # Layer scale of timm, and of the DeiT III release.
    _LAYER + r'(?:ls1\.gamma|gamma_1)': _HERE + 'attn.gamma1.weight',
    _LAYER + r'(?:ls2\.gamma|gamma_2)': _HERE + 'ffn.gamma2.weight',
    r'norm\.(.*)': r'backbone.ln1.\1',
    # The norm behind a mean pool: mmpretrain's ln2 with final_norm=False.
    r'fc_norm\.(.*)': r'backbone.ln2.\1',
    r'head\.(weight|bias)': r'head.layers.head.\1',
    r'pre_logits\.fc\.(.*)': r'head.layers.pre_logits.\1',
    # Heads of DINO, mask tokens and decoders of masked pretraining.
    r'head\.(?:mlp|last_layer)\..*': None,
    r'dino_head\..*|ibot_head\..*': None,
    r'mask_token|decoder_.*': None,
}


def from_timm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """From timm's names to mmpretrain's.

    Args:
        weights: Of timm's ``VisionTransformer``, or of the DeiT, DINO, MAE
            and DINOv2 releases.

    Returns:
        The weights of a classifier with a ``VisionTransformerClsHead``, as
        far as they are there.

    Raises:
        ValueError: If a weight has no place there.
    """
    _refuse_packed_gates(weights)
    return rename(weights, _RULES)


def _refuse_packed_gates(weights: Mapping[str, Tensor]) -> None:
    for name, weight in weights.items():
        behind = weights.get(name.replace('.fc1.', '.fc2.'))
        if not name.endswith('.mlp.fc1.weight') or behind is None:
            continue
        if weight.shape[0] == 2 * behind.shape[1]:
            raise ValueError(
                f'{name}: a gated FFN (SwiGLU) packed by timm; which '
                'activation gates it does not stand in the file. The DINOv2 '
                "release's own file (mlp.w12, mlp.w3) can be converted"
            )
