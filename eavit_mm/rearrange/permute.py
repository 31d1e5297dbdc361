"""Reorders channels, heads and neurons; the network's function stays."""

from collections.abc import Iterable
from typing import Any

import torch
from mmengine.model import BaseModel
from mmpretrain.models import VisionTransformer
from torch import Tensor

from eavit_mm.models.axes import CHANNELS, Units, parameter_axes
from eavit_mm.models.consumers import leaves_of
from eavit_mm.rearrange.criteria import Criterion, Scores
from eavit_mm.space import SearchSpace

# New order of every kind of unit: new position -> old index.
Permutation = dict[Units, Tensor]


def sort_units(scores: Scores) -> Permutation:
    """Most important first; equals keep their order."""
    return {
        units: values.argsort(descending=True, stable=True)
        for units, values in scores.items()
    }


def check_sortable(space: SearchSpace) -> None:
    """Raises ``ValueError`` for a space with suffixes."""
    if space.suffix_smallest:
        raise ValueError(
            'space.suffix_smallest=True: the smallest subnets have the last '
            'units, which sorting makes the least important'
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
    permutation = sort_units(criterion.score(model, batches))
    apply_permutation(model, permutation, with_head)
    return permutation


def apply_permutation(
    model: BaseModel, permutation: Permutation, with_head: bool = True
) -> None:
    """Applies a permutation to a model; arguments as in :func:`rearrange`."""
    permute_backbone(model.backbone, permutation)
    if with_head:
        for consumer in model.consumers.values():
            for leaf in leaves_of(consumer):
                leaf.permute(permutation[CHANNELS])


@torch.no_grad()
def permute_backbone(vit: VisionTransformer, permutation: Permutation) -> None:
    """Reorders the units of a ViT, and so its features, in place.

    Kinds of units that the permutation lacks stay as they are.
    """
    weights = dict(vit.named_parameters())
    for name, (axes, _, _) in parameter_axes(vit).items():
        for axis in axes:
            if axis.units not in permutation:
                continue
            weight = weights[name]
            weight.copy_(axis.reorder(weight, permutation[axis.units]))
