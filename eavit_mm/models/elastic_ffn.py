"""The first hidden channels of a ViT's FFN, ordinary or SwiGLU.

Letters: B batch, N tokens, E open channels, F open hidden channels.
"""

from typing import NamedTuple

import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmpretrain.models.utils import SwiGLUFFN
from torch import Tensor, nn

from eavit_mm.models.elastic_ops import (
    Affine,
    apply_scale,
    gate_linear,
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

    def gated(self, hidden: Tensor, channels: Tensor) -> 'FFNSlices':
        """Of the whole module: closed channels of both kinds add nothing.

        Args:
            hidden: Gates (F), all zero where the branch is off.
            channels: Gates (C).
        """
        output = gate_linear(self.output, hidden, channels)
        return self._replace(output=output)


def ffn_linears(ffn: FFN | SwiGLUFFN) -> tuple[nn.Linear, nn.Linear]:
    """First and last linear map; SwiGLU's first holds gates, then values."""
    if isinstance(ffn, SwiGLUFFN):
        return ffn.w12, ffn.w3
    return ffn.layers[0][0], ffn.layers[1]


def hidden_channels(ffn: FFN | SwiGLUFFN) -> int:
    """F of the full module; SwiGLU rounds the width it is configured with."""
    return ffn_linears(ffn)[1].in_features


def slice_ffn(
    ffn: FFN | SwiGLUFFN, embed_dims: int, channels: int
) -> FFNSlices:
    """The first ``channels`` hidden over the first ``embed_dims`` channels.

    Args:
        ffn: Full module.
        embed_dims: E.
        channels: F, at least 1.
    """
    first, output = ffn_linears(ffn)
    parts = 2 if isinstance(ffn, SwiGLUFFN) else 1
    weights = first.weight.view(parts, -1, first.in_features)
    biases = first.bias.view(parts, -1)
    inputs = tuple(
        Affine(weights[part, :channels, :embed_dims], biases[part, :channels])
        for part in range(parts)
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
