"""The first heads of mmpretrain's multi-head attention.

Letters: B batch, N tokens, E open channels, H all heads, h open heads,
D channels of a head.
"""

from typing import NamedTuple

import torch.nn.functional as F
from mmpretrain.models.utils import MultiheadAttention
from torch import Tensor

from eavit_mm.models.elastic_ops import (
    Affine,
    apply_scale,
    gate_linear,
    slice_linear,
    slice_scale,
)


class AttentionSlices(NamedTuple):
    """What h heads over E channels need of an attention module.

    Attributes:
        qkv_weight: (3, h D, E); q, k and v are sliced apart.
        qkv_bias: (3, h D) or None.
        proj: From h D to E channels.
        scale: Layer scale (E) or None.
    """

    qkv_weight: Tensor
    qkv_bias: Tensor | None
    proj: Affine
    scale: Tensor | None

    def contiguous(self) -> 'AttentionSlices':
        """The same numbers, each tensor in one piece."""
        bias = self.qkv_bias
        return AttentionSlices(
            self.qkv_weight.contiguous(),
            None if bias is None else bias.contiguous(),
            self.proj.contiguous(),
            self.scale,
        )

    def gated(self, heads: Tensor, channels: Tensor) -> 'AttentionSlices':
        """Of the whole module: closed heads and channels add nothing.

        Args:
            heads: Gates (H), all zero where the branch is off.
            channels: Gates (C).
        """
        inputs = heads.repeat_interleave(
            self.qkv_weight.shape[1] // len(heads)
        )
        return self._replace(proj=gate_linear(self.proj, inputs, channels))


def slice_attention(
    attn: MultiheadAttention, embed_dims: int, num_heads: int
) -> AttentionSlices:
    """The first ``num_heads`` heads over the first ``embed_dims`` channels.

    Args:
        attn: Full attention; its qkv weight is (3 H D, E_full), all of q
            before all of k before all of v.
        embed_dims: E.
        num_heads: h, at least 1.
    """
    channels = num_heads * attn.head_dims
    weight = attn.qkv.weight.unflatten(0, (3, -1))
    bias = attn.qkv.bias
    return AttentionSlices(
        weight[:, :channels, :embed_dims],
        None if bias is None else bias.unflatten(0, (3, -1))[:, :channels],
        slice_linear(attn.proj, channels, embed_dims),
        slice_scale(attn.gamma1, embed_dims),
    )


def attention(
    attn: MultiheadAttention, slices: AttentionSlices, x: Tensor
) -> Tensor:
    """Runs the sliced heads; dropouts and their state are the module's.

    Args:
        attn: The module that was sliced.
        slices: Its slices.
        x: (B, N, E), already normalised.

    Returns:
        (B, N, E), to be added to the residual stream.
    """
    heads = slices.qkv_weight.shape[1] // attn.head_dims
    q, k, v = (
        part.reshape(*x.shape[:2], heads, attn.head_dims).transpose(1, 2)
        for part in _project(slices, x)
    )  # (B, h, N, D) each
    dropout = attn.attn_drop if attn.training else 0.0
    x = attn.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    x = x.transpose(1, 2).flatten(2)  # (B, h, N, D) -> (B, N, h D)
    x = F.linear(x, *slices.proj)
    return attn.out_drop(apply_scale(attn.proj_drop(x), slices.scale))


def _project(slices: AttentionSlices, x: Tensor) -> tuple[Tensor, ...]:
    """q, k and v, (B, N, h D) each."""
    weight, bias = slices.qkv_weight, slices.qkv_bias
    if weight.stride(0) == weight.shape[1] * weight.stride(1):
        # No closed rows between q, k and v: one product, still a view.
        flat = None if bias is None else bias.flatten()
        return F.linear(x, weight.flatten(0, 1), flat).chunk(3, dim=-1)
    biases = (None, None, None) if bias is None else bias.unbind()
    return tuple(
        F.linear(x, w, b) for w, b in zip(weight.unbind(), biases, strict=True)
    )
