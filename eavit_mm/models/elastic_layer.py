"""One encoder layer that runs the first heads and hidden channels.

Letters: B batch, N tokens, E open channels of the residual stream.
"""

from typing import NamedTuple

from mmengine.model import BaseModule
from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer,
)
from torch import Tensor

from eavit_mm.models.elastic_attention import (
    AttentionSlices,
    attention,
    slice_attention,
)
from eavit_mm.models.elastic_ffn import FFNSlices, feed_forward, slice_ffn
from eavit_mm.models.elastic_ops import (
    Affine,
    GatedNorm,
    gate_norm,
    layer_norm,
    slice_norm,
)


class LayerSlices(NamedTuple):
    """Slices of both branches; None where a branch is off."""

    attention: tuple[Affine | GatedNorm, AttentionSlices] | None
    ffn: tuple[Affine | GatedNorm, FFNSlices] | None

    def contiguous(self) -> 'LayerSlices':
        """The same numbers, each tensor in one piece."""
        return LayerSlices(
            self.attention
            and (self.attention[0], self.attention[1].contiguous()),
            self.ffn and (self.ffn[0], self.ffn[1].contiguous()),
        )


class ElasticEncoderLayer(TransformerEncoderLayer):
    """mmpretrain's encoder layer, which can also run a part of itself.

    Takes over the modules of a built layer, so names, shapes and
    initialisation are the stock layer's.

    Args:
        layer: The stock layer.
    """

    def __init__(self, layer: TransformerEncoderLayer) -> None:
        BaseModule.__init__(self, layer.init_cfg)
        self.embed_dims = layer.embed_dims
        self.ln1, self.attn = layer.ln1, layer.attn
        self.ln2, self.ffn = layer.ln2, layer.ffn
        self.training = layer.training  # False in frozen stages

    def slice(
        self, embed_dims: int, num_heads: int, channels: int
    ) -> LayerSlices:
        """Views of the open weights.

        Args:
            embed_dims: E.
            num_heads: Open heads; 0: no attention.
            channels: Open hidden channels; 0: no FFN.
        """
        norm1 = slice_norm(self.ln1, embed_dims)
        norm2 = slice_norm(self.ln2, embed_dims)
        return LayerSlices(
            (norm1, slice_attention(self.attn, embed_dims, num_heads))
            if num_heads
            else None,
            (norm2, slice_ffn(self.ffn, embed_dims, channels))
            if channels
            else None,
        )

    def gate(
        self, channels: Tensor, heads: Tensor, hidden: Tensor
    ) -> LayerSlices:
        """The whole layer with gates in its weights.

        Args:
            channels: Gates of the residual stream (C).
            heads: Gates (H), all zero where the attention is off.
            hidden: Gates (F), all zero where the FFN is off.
        """
        width = len(channels)
        return LayerSlices(
            (
                gate_norm(slice_norm(self.ln1, width), channels),
                slice_attention(self.attn, width, len(heads)).gated(
                    heads, channels
                ),
            ),
            (
                gate_norm(slice_norm(self.ln2, width), channels),
                slice_ffn(self.ffn, width, len(hidden)).gated(
                    hidden, channels
                ),
            ),
        )

    def run(self, slices: LayerSlices, x: Tensor) -> Tensor:
        """Runs slices of this layer: x (B, N, E) -> (B, N, E)."""
        if slices.attention is not None:
            norm, heads = slices.attention
            x = x + attention(self.attn, heads, layer_norm(self.ln1, norm, x))
        if slices.ffn is not None:
            norm, hidden = slices.ffn
            x = x + feed_forward(
                self.ffn, hidden, layer_norm(self.ln2, norm, x)
            )
        return x

    def forward(
        self,
        x: Tensor,
        num_heads: int | None = None,
        channels: int | None = None,
        slices: LayerSlices | None = None,
    ) -> Tensor:
        """The stock layer, or as much of it as widths or slices say.

        Args:
            x: (B, N, E); its last axis tells the open channels.
            num_heads: Open heads; None for the stock forward.
            channels: Open hidden channels; None for the stock forward.
            slices: In place of widths.
        """
        if slices is not None:
            return self.run(slices, x)
        if num_heads is None or channels is None:
            return super().forward(x)
        return self.run(self.slice(x.shape[-1], num_heads, channels), x)
