"""Prefix slices of the small modules a ViT is made of, and their use.

Slices are views: no copy, and gradients reach the full parameters. Running
takes the slices as arguments, so that whoever evaluates one subnet many
times can slice once.

Letters: B batch, N tokens, E open channels of the residual stream.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Affine(NamedTuple):
    """Weight and bias of a linear map or a norm; the bias may be None."""

    weight: Tensor
    bias: Tensor | None

    def contiguous(self) -> 'Affine':
        """The same numbers, each tensor in one piece."""
        bias = None if self.bias is None else self.bias.contiguous()
        return Affine(self.weight.contiguous(), bias)


class GatedNorm(NamedTuple):
    """What a LayerNorm needs of gated channels.

    Attributes:
        weight: (C), times the gates.
        bias: Likewise.
        shares: (C), gates over their sum: of each channel in the mean.
    """

    weight: Tensor
    bias: Tensor
    shares: Tensor


def slice_linear(
    linear: nn.Linear, in_width: int, out_width: int | None = None
) -> Affine:
    """The map from the first inputs to the first outputs.

    Args:
        linear: With weight (out_features, in_features).
        in_width: Open inputs.
        out_width: Open outputs; None for all.
    """
    bias = None if linear.bias is None else linear.bias[:out_width]
    return Affine(linear.weight[:out_width, :in_width], bias)


def slice_norm(norm: nn.LayerNorm, width: int) -> Affine:
    """Weight and bias of the first ``width`` channels of a LayerNorm."""
    return Affine(norm.weight[:width], norm.bias[:width])


def gate_norm(affine: Affine, gates: Tensor) -> GatedNorm:
    """A whole LayerNorm whose closed channels are zero and do not count.

    Args:
        affine: Of all channels (C).
        gates: (C), with at least one open.
    """
    assert affine.bias is not None
    shares = gates / gates.sum().clamp(min=1)
    return GatedNorm(affine.weight * gates, affine.bias * gates, shares)


def gate_linear(affine: Affine, inputs: Tensor, outputs: Tensor) -> Affine:
    """A whole linear map with closed inputs and outputs.

    The first input's gate is the branch's: where it is off, so is the bias.
    Gates go into the weight, which is smaller than the activations.

    Args:
        affine: Weight (out, in).
        inputs: Gates (in).
        outputs: Gates (out).
    """
    weight = affine.weight * torch.outer(outputs, inputs)
    bias = affine.bias
    if bias is not None:
        bias = bias * (outputs * inputs[0])
    return Affine(weight, bias)


def layer_norm(
    norm: nn.LayerNorm, affine: Affine | GatedNorm, x: Tensor
) -> Tensor:
    """LayerNorm over the open channels alone: x (..., E) -> (..., E)."""
    if isinstance(affine, GatedNorm):
        return _gated_norm(affine, x, norm.eps)
    width = (affine.weight.shape[0],)
    return F.layer_norm(x, width, affine.weight, affine.bias, norm.eps)


def _gated_norm(gated: GatedNorm, x: Tensor, eps: float) -> Tensor:
    """LayerNorm with statistics weighted by gates.

    ``mean = sum(g x) / sum(g)``, ``var = sum(g (x - mean)^2) / sum(g)``.
    """
    # As torch's own under autocast: in single precision.
    with torch.autocast(x.device.type, enabled=False):
        if x.dtype in (torch.float16, torch.bfloat16):
            x = x.float()
        x = x - (x @ gated.shares).unsqueeze(-1)
        variance = (x.square() @ gated.shares).unsqueeze(-1)
        return torch.addcmul(
            gated.bias, x * torch.rsqrt(variance + eps), gated.weight
        )


def slice_scale(scale: nn.Module, width: int) -> Tensor | None:
    """Factors of a layer scale for the open channels; None without one.

    mmcv and mmpretrain have a ``LayerScale`` each, with one parameter under
    different names; without layer scale the module is an ``nn.Identity``.
    """
    factors: Tensor | None = next(scale.parameters(), None)
    return None if factors is None else factors[:width]


def apply_scale(x: Tensor, factors: Tensor | None) -> Tensor:
    """Multiplies x (..., E) by the factors (E), if there are any."""
    return x if factors is None else x * factors
