"""One encoder layer that runs its first or last heads and hidden channels.

A branch is a norm, maps in, something between them, and a map out. Its slices
are views of the weights: no copy, and gradients reach the full parameters.
With gates the whole weights take the place of the slices, multiplied by them.

Letters: B batch, N tokens, E open channels of the residual stream, C all of
them, U open units of a branch (h heads times D channels of a head, or hidden
channels), P maps in (queries, keys and values: 3; gates and values of a
SwiGLU: 2; of an ordinary FFN: 1).
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule
from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer,
)
from mmpretrain.models.utils import MultiheadAttention, SwiGLUFFN
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from eavit_mm.models.axes import ffn_linears
from eavit_mm.space.subnet import PREFIX, opened


class NormSlices(NamedTuple):
    """What a LayerNorm needs.

    Attributes:
        weight: (E).
        bias: (E).
        shares: None, or in a gated network (C): the share that a channel has
            in the mean, its gate over the sum of gates.
    """

    weight: Tensor
    bias: Tensor
    shares: Tensor | None = None


class BranchSlices(NamedTuple):
    """What attention or FFN needs.

    Attributes:
        norm: The norm in front.
        in_weight: (P, U, E).
        in_bias: (P, U) or None.
        out_weight: (E, U).
        out_bias: (E) or None.
        scale: Layer scale (E) or None.
        head_dims: Of an attention, D; None: all that a head has.
    """

    norm: NormSlices
    in_weight: Tensor
    in_bias: Tensor | None
    out_weight: Tensor
    out_bias: Tensor | None
    scale: Tensor | None
    head_dims: int | None = None


class LayerSlices(NamedTuple):
    """Slices of both branches; None where a branch is off."""

    attention: BranchSlices | None
    ffn: BranchSlices | None


# Slicing


def slice_norm(norm: nn.LayerNorm, channels: slice) -> NormSlices:
    """The open channels of a LayerNorm."""
    return NormSlices(norm.weight[channels], norm.bias[channels])


def slice_branch(
    norm: nn.LayerNorm,
    maps: tuple[nn.Linear, nn.Linear],
    parts: int,
    scale: nn.Module,
    channels: slice,
    units: slice,
) -> BranchSlices:
    """The open units over the open channels.

    The maps are those in, all P in one, and the map out; ``scale`` is the
    layer scale, or an identity.
    """
    E, U = channels, units
    first, last = maps
    in_bias, out_bias = first.bias, last.bias

    def split(weight: Tensor) -> Tensor:
        return torch.unflatten(weight, 0, (parts, -1))

    # mmcv and mmpretrain have a LayerScale each, with one parameter under
    # different names; without layer scale there is an nn.Identity.
    factors: Tensor | None = next(scale.parameters(), None)
    return BranchSlices(
        slice_norm(norm, E),
        split(first.weight)[:, U, E],
        None if in_bias is None else split(in_bias)[:, U],
        last.weight[E, U],
        None if out_bias is None else out_bias[E],
        None if factors is None else factors[E],
    )


def narrow_heads(
    heads: BranchSlices, head_dims: int, channels: slice
) -> BranchSlices:
    """Of each head, which has ``head_dims``, the open channels; a copy."""

    def narrow(weight: Tensor) -> Tensor:
        split = torch.unflatten(weight, 1, (-1, head_dims))
        return split[:, :, channels].flatten(1, 2)

    bias = heads.in_bias
    return heads._replace(
        in_weight=narrow(heads.in_weight),
        in_bias=None if bias is None else narrow(bias),
        out_weight=narrow(heads.out_weight),
        head_dims=len(range(head_dims)[channels]),
    )


# Gating


def shares_of(gates: Tensor) -> Tensor:
    """The share that each channel (C) has in the mean of a gated norm."""
    # In half precision the sum of hundreds of gates would be rounded.
    exact = gates.to(torch.promote_types(gates.dtype, torch.float32))
    return exact / exact.sum().clamp(min=1)


def gate_norm(norm: NormSlices, gates: Tensor, shares: Tensor) -> NormSlices:
    """A whole norm whose closed channels (C) are zero and do not count."""
    return NormSlices(norm.weight * gates, norm.bias * gates, shares)


def gate_branch(
    branch: BranchSlices, units: Tensor, channels: Tensor, shares: Tensor
) -> BranchSlices:
    """A whole branch whose closed units and channels add nothing.

    The gates go into the map out, which is smaller than the activations. The
    first unit's gate is the branch's: where it is off, so is the bias. Gates
    are (U), all zero where the branch is off, and (C), as are their shares.
    """
    bias = branch.out_bias
    return branch._replace(
        norm=gate_norm(branch.norm, channels, shares),
        out_weight=branch.out_weight * torch.outer(channels, units),
        out_bias=None if bias is None else bias * (channels * units[0]),
    )


# Running


def layer_norm(norm: nn.LayerNorm, slices: NormSlices, x: Tensor) -> Tensor:
    """LayerNorm over the open channels alone: x (..., E) -> (..., E)."""
    weight, bias, shares = slices
    if shares is None:
        return F.layer_norm(x, weight.shape, weight, bias, norm.eps)
    # As torch's own under autocast: in single precision.
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(shares.dtype)
        x = _NormaliseOpen.apply(x, shares, norm.eps)  # type: ignore[no-untyped-call]
        out = torch.addcmul(bias.to(x.dtype), x, weight.to(x.dtype))
        return out.to(weight.dtype)


class _NormaliseOpen(torch.autograd.Function):
    """What a gated LayerNorm does before weight and bias.

    With shares s, which sum to 1: mean = s x, var = s (x - mean)^2. Autograd
    would keep four tensors as large as x for it; this keeps what it returns.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, shares: Tensor, eps: float) -> Tensor:
        """Tokens x (..., C), shares (C) -> (..., C)."""
        mean = (x @ shares).unsqueeze(-1)
        x = x - mean
        scale = ((x.square() @ shares).unsqueeze(-1) + eps).rsqrt()
        x = x * scale  # not in place: torch.compile would lose gradients
        ctx.save_for_backward(x, shares, mean, scale)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """The gradients of x and of the shares."""
        x, shares, mean, scale = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            by_mean = grad.sum(-1, keepdim=True)
            by_scale = (grad * x).sum(-1, keepdim=True)
            grad_x = scale * (grad - shares * (by_mean + by_scale * x))
            x, rows = x.flatten(0, -2), by_mean.flatten()
            grad_shares = rows @ x + (by_mean * scale * mean).sum()
            grad_shares += by_scale.flatten() @ x.square() / 2
        return grad_x, -grad_shares, None


def run_attention(
    attn: MultiheadAttention, slices: BranchSlices, x: Tensor
) -> Tensor:
    """Runs the sliced heads; dropouts and their state are the module's.

    Normalised x (B, N, E) -> (B, N, E), to be added to the residual stream.
    """
    D = slices.head_dims or attn.head_dims
    heads = slices.in_weight.shape[1] // D
    q, k, v = (
        part.reshape(*x.shape[:2], heads, D).transpose(1, 2)
        for part in _queries_keys_values(slices, x)
    )  # (B, h, N, D) each
    dropout = attn.attn_drop if attn.training else 0.0
    if slices.head_dims is None:
        x = attn.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    else:  # Scala keeps the scale of a whole head
        x = F.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=attn.head_dims**-0.5
        )
    x = x.transpose(1, 2).flatten(2)  # (B, h, N, D) -> (B, N, h D)
    x = attn.proj_drop(F.linear(x, slices.out_weight, slices.out_bias))
    return attn.out_drop(x if slices.scale is None else x * slices.scale)


def run_ffn(ffn: FFN | SwiGLUFFN, slices: BranchSlices, x: Tensor) -> Tensor:
    """Likewise: x (B, N, E) -> (B, N, E)."""
    hidden = _maps_in(slices, x)
    if isinstance(ffn, SwiGLUFFN):
        gate, value = hidden
        x = F.silu(gate) * value
    else:
        (x,), (_, activation, dropout) = hidden, ffn.layers[0]
        hooks = activation._forward_hooks or activation._forward_pre_hooks
        if type(activation) is nn.GELU and not (x.requires_grad or hooks):
            # In place: of an evaluation this was what took most memory.
            torch.ops.aten.gelu_(x, approximate=activation.approximate)
            x = dropout(x)
        else:
            x = dropout(activation(x))
    x = F.linear(x, slices.out_weight, slices.out_bias)
    if not isinstance(ffn, SwiGLUFFN):
        x = ffn.layers[2](x)  # dropout
    return ffn.dropout_layer(x if slices.scale is None else x * slices.scale)


def _maps_in(slices: BranchSlices, x: Tensor) -> tuple[Tensor, ...]:
    """X (B, N, E) through each of the maps in: P times (B, N, U)."""
    weights, bias = slices.in_weight.unbind(), slices.in_bias
    biases = [None] * len(weights) if bias is None else bias.unbind()
    return tuple(
        F.linear(x, w, b) for w, b in zip(weights, biases, strict=True)
    )


def _queries_keys_values(
    slices: BranchSlices, x: Tensor
) -> tuple[Tensor, ...]:
    """:func:`_maps_in`, in one product where that needs no copy."""
    weight, bias = slices.in_weight, slices.in_bias
    if weight.stride(0) != weight.shape[1] * weight.stride(1):
        return _maps_in(slices, x)  # closed heads stand between the maps
    flat = None if bias is None else bias.flatten()
    return F.linear(x, weight.flatten(0, 1), flat).chunk(3, dim=-1)


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
        self,
        embed_dims: int,
        num_heads: int,
        channels: int,
        head_dims: int | None = None,
        side: str = PREFIX,
    ) -> LayerSlices:
        """The open weights; a branch without units is None.

        Views, save where not all channels of a head are open.
        """
        attn, ffn = self.attn, self.ffn
        attention = feedforward = None
        E, D = opened(embed_dims, side), attn.head_dims
        if num_heads:
            maps, units = (attn.qkv, attn.proj), opened(num_heads * D, side)
            attention = slice_branch(self.ln1, maps, 3, attn.gamma1, E, units)
            if head_dims not in (None, D):
                inside = opened(head_dims, side)
                attention = narrow_heads(attention, D, inside)
        if channels:
            maps, parts = ffn_linears(ffn), 1 + isinstance(ffn, SwiGLUFFN)
            hidden = opened(channels, side)
            feedforward = slice_branch(
                self.ln2, maps, parts, ffn.gamma2, E, hidden
            )
        return LayerSlices(attention, feedforward)

    def gate(
        self, channels: Tensor, shares: Tensor, heads: Tensor, hidden: Tensor
    ) -> LayerSlices:
        """The whole layer with gates in its weights.

        Args:
            channels: Gates of the residual stream (C).
            shares: Their shares in means, see :func:`shares_of`.
            heads: One gate per head, all zero where the attention is off.
            hidden: Gates of the hidden channels, likewise.
        """
        whole = self.slice(len(channels), len(heads), len(hidden))
        assert whole.attention is not None
        assert whole.ffn is not None
        units = heads.repeat_interleave(self.attn.head_dims)
        return LayerSlices(
            gate_branch(whole.attention, units, channels, shares),
            gate_branch(whole.ffn, hidden, channels, shares),
        )

    def forward(
        self,
        x: Tensor,
        num_heads: int | None = None,
        channels: int | None = None,
        head_dims: int | None = None,
        side: str = PREFIX,
        slices: LayerSlices | None = None,
    ) -> Tensor:
        """The stock layer, or as much of it as widths or slices say.

        Args:
            x: (B, N, E); its last axis tells the open channels.
            num_heads: Open heads; None for the stock forward.
            channels: Open hidden channels; None for the stock forward.
            head_dims: Open channels of a head; None for all.
            side: Which of all these are open.
            slices: In place of widths.
        """
        if slices is None:
            if num_heads is None or channels is None:
                return super().forward(x)
            # Sliced in here: a checkpointed layer slices again in backward.
            widths = (x.shape[-1], num_heads, channels)
            slices = self.slice(*widths, head_dims, side)
        attention, ffn = slices
        if attention is not None:
            normed = layer_norm(self.ln1, attention.norm, x)
            x = x + run_attention(self.attn, attention, normed)
        if ffn is not None:
            x = x + run_ffn(self.ffn, ffn, layer_norm(self.ln2, ffn.norm, x))
        return x
