"""The first hidden channels of a ViT's FFN, ordinary or SwiGLU.

Letters: B batch, N tokens, E open channels, F open hidden channels.
"""

from typing import NamedTuple

import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmpretrain.models.utils import SwiGLUFFN
from torch import Tensor

from eavit_mm.models.elastic_ops import (
    Affine,
    apply_scale,
    slice_linear,
    slice_scale,
)


class FFNSlices(NamedTuple):
    """What F hidden channels over E channels need of an FFN.

    Attributes:
        inputs: One map from E to F, or two in SwiGLU (gate, value).
        output: From F to E.
        scale: Layer scale (E) or None.
    """

    inputs: tuple[Affine, ...]
    output: Affine
    scale: Tensor | None

    def contiguous(self) -> 'FFNSlices':
        """The same numbers, each tensor in one piece."""
        return FFNSlices(
            tuple(affine.contiguous() for affine in self.inputs),
            self.output.contiguous(),
            self.scale,
        )


def hidden_channels(ffn: FFN | SwiGLUFFN) -> int:
    """F of the full module; SwiGLU rounds the width it is configured with."""
    if isinstance(ffn, SwiGLUFFN):
        return int(ffn.w3.in_features)
    return int(ffn.feedforward_channels)


def slice_ffn(
    ffn: FFN | SwiGLUFFN, embed_dims: int, channels: int
) -> FFNSlices:
    """The first ``channels`` hidden over the first ``embed_dims`` channels.

    Args:
        ffn: Full module; SwiGLU's first weight holds gates, then values.
        embed_dims: E.
        channels: F, at least 1.
    """
    if not isinstance(ffn, SwiGLUFFN):
        first, output = ffn.layers[0][0], ffn.layers[1]
        inputs: tuple[Affine, ...] = (
            slice_linear(first, embed_dims, channels),
        )
    else:
        output = ffn.w3
        weights = ffn.w12.weight.unflatten(0, (2, -1))[:, :channels]
        biases = ffn.w12.bias.unflatten(0, (2, -1))[:, :channels]
        inputs = tuple(
            Affine(weights[half, :, :embed_dims], biases[half])
            for half in range(2)
        )
    return FFNSlices(
        inputs,
        slice_linear(output, channels, embed_dims),
        slice_scale(ffn.gamma2, embed_dims),
    )


def feed_forward(ffn: FFN | SwiGLUFFN, slices: FFNSlices, x: Tensor) -> Tensor:
    """Runs the sliced FFN; activation and dropouts are the module's.

    Args:
        ffn: The module that was sliced.
        slices: Its slices.
        x: (B, N, E), already normalised.

    Returns:
        (B, N, E), to be added to the residual stream.
    """
    hidden = [F.linear(x, *affine) for affine in slices.inputs]
    if isinstance(ffn, SwiGLUFFN):
        gate, value = hidden
        x = F.linear(F.silu(gate) * value, *slices.output)
    else:
        _, activation, dropout = ffn.layers[0]
        x = F.linear(dropout(activation(hidden[0])), *slices.output)
        x = ffn.layers[2](x)
    return ffn.dropout_layer(apply_scale(x, slices.scale))
