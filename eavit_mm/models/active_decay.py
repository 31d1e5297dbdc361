"""Weight decay of the weights that a step trained, and of no others.

AdamW multiplies every parameter that has a gradient by 1 - lr * weight_decay,
those of its rows and columns included that no subnet opened. Which are open
is known from the subnets, not from gradients: one can be zero by chance.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from eavit_mm.space import Subnet

if TYPE_CHECKING:
    from eavit_mm.models.elastic_model import ElasticModelMixin


def check_decoupled(optimizer: Optimizer) -> None:
    """Raises unless the decay of an optimizer can be taken out of its step.

    It can where a step first multiplies the weights by 1 - lr * weight_decay
    and then ignores it, as AdamW does. In SGD and Adam the decay is a part of
    the gradient, and momentum keeps it for later steps.

    Raises:
        ValueError: If it cannot; names the optimizer.
    """
    decoupled = isinstance(optimizer, AdamW) or all(
        group.get('decoupled_weight_decay') for group in optimizer.param_groups
    )
    if not decoupled:
        raise ValueError(
            'decay_active_only: the weight decay of '
            f'{type(optimizer).__name__} cannot be told from the rest of its '
            "step; use type='AdamW', or another of torch's optimizers with "
            'decoupled_weight_decay=True'
        )


@contextmanager
def decay_of_open_weights(
    model: 'ElasticModelMixin',
    optimizer: Optimizer,
    subnets: Sequence[Subnet],
) -> Iterator[None]:
    """Inside, a step of the optimizer decays what the subnets open.

    The step runs without weight decay; right before it the open weights are
    multiplied as AdamW would. That is a hook of the optimizer: where a
    gradient scaler leaves a step out, nothing decays either.

    Args:
        model: The supernet.
        optimizer: Of its parameters, see :func:`check_decoupled`.
        subnets: Those that the gradients are of; a weight is open if one of
            them uses it.
    """
    if model.backbone.space.largest in subnets:
        yield  # everything is open
        return
    groups = optimizer.param_groups
    decays = [group['weight_decay'] for group in groups]

    def decay(optimizer: Any, *args: Any) -> None:
        # A fused optimizer decides only in its kernel to leave a step out.
        found_inf = getattr(optimizer, 'found_inf', None)
        if found_inf is None or not found_inf.item():
            _decay(groups, decays, open_masks(model, subnets))

    handle = optimizer.register_step_pre_hook(decay)
    try:
        for group in groups:
            group['weight_decay'] = 0.0
        yield
    finally:
        handle.remove()
        for group, value in zip(groups, decays, strict=True):
            group['weight_decay'] = value


@torch.no_grad()
def _decay(
    groups: Sequence[dict[str, Any]],
    decays: Sequence[float],
    masks: dict[Tensor, Tensor],
) -> None:
    """Multiplies open weights that have a gradient by 1 - lr * decay."""
    for group, decay in zip(groups, decays, strict=True):
        for p in group['params']:
            if p.grad is None or not decay:
                continue
            decayed = p * (1 - group['lr'] * decay)
            mask = masks.get(p)
            p.copy_(decayed if mask is None else decayed.where(mask, p))


@torch.no_grad()
def open_masks(
    model: 'ElasticModelMixin', subnets: Sequence[Subnet]
) -> dict[Tensor, Tensor]:
    """Where one of the subnets uses a weight: booleans per parameter.

    Parameters outside of backbone and consumers have no mask.
    """
    parts: list[nn.Module] = [model.backbone, *model.consumers.values()]
    masks: dict[Tensor, Tensor] = {
        p: torch.zeros_like(p, dtype=torch.bool)
        for part in parts
        for p in part.parameters()
    }
    for subnet in set(subnets):
        for view in model.open_weights(subnet):
            p = view if view._base is None else view._base
            # The same view of the mask as of the parameter.
            offset = view.storage_offset() - p.storage_offset()
            mask = masks[p].as_strided(view.shape, view.stride(), offset)
            mask.fill_(True)
    return masks
