"""Prefix slices of the small modules a ViT is made of, and their use.

Slices are views: no copy, and gradients reach the full parameters. Running
takes the slices as arguments, so that whoever evaluates one subnet many
times can slice once.

Letters: B batch, N tokens, E open channels of the residual stream.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

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


def tensors_in(slices: Any) -> Iterator[Tensor]:
    """The tensors of slices, however they are nested; None has none."""
    if isinstance(slices, Tensor):
        yield slices
    elif slices is not None:
        parts = slices.values() if isinstance(slices, dict) else slices
        for part in parts:
            yield from tensors_in(part)


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


def layer_norm(norm: nn.LayerNorm, affine: Affine, x: Tensor) -> Tensor:
    """LayerNorm over the open channels alone: x (..., E) -> (..., E)."""
    width = (affine.weight.shape[0],)
    return F.layer_norm(x, width, affine.weight, affine.bias, norm.eps)


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
