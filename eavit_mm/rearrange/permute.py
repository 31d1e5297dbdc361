"""Reorders channels, heads and neurons; the network's function stays.

Letters: C channels of the residual stream, H heads, D channels of a head, F
hidden channels of an FFN, L layers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModel
from mmpretrain.models import VisionTransformer
from mmpretrain.models.utils import MultiheadAttention, SwiGLUFFN
from torch import Tensor, nn

from eavit_mm.models.consumers import permute_consumer
from eavit_mm.models.elastic_ffn import ffn_linears
from eavit_mm.models.elastic_vit import end_norms
from eavit_mm.rearrange.criteria import Criterion, Scores


@dataclass
class Permutation:
    """New order of every kind of unit: new position -> old index.

    Attributes:
        embed_dims: (C), one for the whole network.
        num_heads: L tensors (H).
        feedforward_channels: L tensors (F).
    """

    embed_dims: Tensor
    num_heads: list[Tensor]
    feedforward_channels: list[Tensor]

    @classmethod
    def from_scores(cls, scores: Scores) -> 'Permutation':
        """Most important first; equals keep their order."""

        def order(values: Tensor) -> Tensor:
            return values.argsort(descending=True, stable=True)

        return cls(
            order(scores.embed_dims),
            [order(heads) for heads in scores.num_heads],
            [order(hidden) for hidden in scores.feedforward_channels],
        )


def rearrange(
    model: BaseModel,
    criterion: Criterion,
    batches: Iterable[Any] = (),
    with_head: bool = True,
) -> Permutation:
    """Scores the units of a model and sorts them, in place.

    Args:
        model: With ``backbone``, and ``consumers`` that read its features.
        criterion: What is important.
        batches: Calibration data.
        with_head: Reorder what the consumers read too. Without it the
            function changes: right only for a head not trained yet.

    Returns:
        The permutation that was applied.
    """
    scores = criterion.score(model, batches)
    permutation = Permutation.from_scores(scores)
    apply_permutation(model, permutation, with_head)
    return permutation


def apply_permutation(
    model: BaseModel, permutation: Permutation, with_head: bool = True
) -> None:
    """Applies a permutation to a model; arguments as in :func:`rearrange`."""
    permute_backbone(model.backbone, permutation)
    if with_head:
        for consumer in model.consumers.values():
            permute_consumer(consumer, permutation.embed_dims)


@torch.no_grad()
def permute_backbone(vit: VisionTransformer, permutation: Permutation) -> None:
    """Reorders the units of a ViT, in place.

    Its features come out in the new order of the channels; nothing else of
    its function changes.
    """
    order = permutation.embed_dims.to(vit.pos_embed.device)
    _permute_ends(vit, order)
    for layer, heads, neurons in zip(
        vit.layers,
        permutation.num_heads,
        permutation.feedforward_channels,
        strict=True,
    ):
        for norm in (layer.ln1, layer.ln2):
            _permute_all(norm, order)
        _permute_attention(layer.attn, order, heads.to(order))
        _permute_ffn(layer.ffn, order, neurons.to(order))


def _permute(weight: Tensor | None, axis: int, order: Tensor) -> None:
    if weight is not None:
        weight.copy_(weight.index_select(axis, order))


def _permute_all(module: nn.Module, order: Tensor) -> None:
    """Parameters that are vectors over the channels: norms, layer scale."""
    for weight in module.parameters():
        _permute(weight, 0, order)


def _permute_ends(vit: VisionTransformer, order: Tensor) -> None:
    """What stands before and behind the layers."""
    projection = vit.patch_embed.projection
    _permute(projection.weight, 0, order)
    _permute(projection.bias, 0, order)
    _permute(vit.cls_token, -1, order)
    _permute(vit.pos_embed, -1, order)
    for norm in end_norms(vit).values():
        _permute_all(norm, order)


def _permute_attention(
    attn: MultiheadAttention, channels: Tensor, heads: Tensor
) -> None:
    # A head moves as a block of D channels, in q, k and v alike.
    rows = (
        torch.arange(attn.num_heads * attn.head_dims, device=heads.device)
        .view(attn.num_heads, -1)[heads]
        .flatten()
    )
    step = len(rows)
    qkv_rows = torch.cat([rows + part * step for part in range(3)])
    _permute(attn.qkv.weight, 0, qkv_rows)
    _permute(attn.qkv.bias, 0, qkv_rows)
    _permute(attn.qkv.weight, 1, channels)
    _permute(attn.proj.weight, 1, rows)
    _permute(attn.proj.weight, 0, channels)
    _permute(attn.proj.bias, 0, channels)
    _permute_all(attn.gamma1, channels)


def _permute_ffn(
    ffn: FFN | SwiGLUFFN, channels: Tensor, neurons: Tensor
) -> None:
    inputs, output = ffn_linears(ffn)
    # SwiGLU's first map holds the gates, then the values, of the neurons.
    parts = inputs.out_features // len(neurons)
    rows = torch.cat([neurons + part * len(neurons) for part in range(parts)])
    _permute(inputs.weight, 0, rows)
    _permute(inputs.bias, 0, rows)
    _permute(inputs.weight, 1, channels)
    _permute(output.weight, 1, neurons)
    _permute(output.weight, 0, channels)
    _permute(output.bias, 0, channels)
    _permute_all(ffn.gamma2, channels)
