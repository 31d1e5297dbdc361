"""Statistics of BatchNorms for one subnet.

Training mixes those of all subnets, which have features of other means and
deviations (Yu and Huang, 2019, re-estimate them too).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from eavit_mm.space import Subnet


@contextmanager
def norm_statistics_of(
    model: Any, subnet: Subnet | None, batches: Iterable[Any]
) -> Iterator[None]:
    """Gives BatchNorms a subnet's own statistics inside a ``with`` block.

    To evaluate or export the subnet there; outside of it the supernet is as
    it was. Without a BatchNorm that keeps statistics no batch is read. Those
    of auxiliary heads, which run in training alone, stay as they are.

    Args:
        model: The elastic model.
        subnet: A member of the space; None for the largest.
        batches: Of the training data, as its loader gives them. Each counts
            as much as the others: mean and variance are averaged.

    Raises:
        ValueError: If there is a BatchNorm, and no batch.

    Example:
        >>> with norm_statistics_of(model, subnet, islice(loader, 20)):
        ...     dense = dense_network(model, cfg.model, subnet)
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.track_running_stats
    ]
    kept = [(b, b.clone()) for norm in norms for b in norm.buffers()]
    try:
        if norms:
            found = _moments(model, subnet, batches, norms)
            for norm, moments in found.items():
                _set_statistics(norm, moments)
        yield
    finally:
        for buffer, value in kept:
            buffer.copy_(value)


@torch.no_grad()
def _moments(
    model: Any, subnet: Subnet | None, batches: Iterable[Any], norms: list[Any]
) -> dict[Any, list[tuple[Tensor, Tensor]]]:
    """Mean and variance of what each norm is given, of every batch.

    Without buffers a norm takes those of the batch itself, and that of no
    other process, as one of type SyncBN in training mode would.
    """
    modes = {module: module.training for module in model.modules()}
    buffers = {norm: dict(norm._buffers) for norm in norms}
    found: dict[Any, list[tuple[Tensor, Tensor]]] = {}

    def note(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        x = args[0].transpose(0, 1).flatten(1)  # (B, E, ...) -> (E, -1)
        found.setdefault(norm, []).append((x.mean(1), x.var(1)))

    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    model.eval()
    for norm in norms:
        norm._buffers.update(dict.fromkeys(buffers[norm]))
    try:
        batch = None
        with model.backbone.use(subnet):
            for batch in batches:
                data = model.calibration_data(batch)
                model._run_forward(data, mode='tensor')
        if batch is None:
            raise ValueError(
                'statistics of a BatchNorm need at least one batch of data: '
                'train_dataloader of the config; GN and LN need none'
            )
    finally:
        for hook in hooks:
            hook.remove()
        for norm, own in buffers.items():
            norm._buffers.update(own)
        for module, mode in modes.items():
            module.training = mode
    return found


def _set_statistics(norm: Any, moments: list[tuple[Tensor, Tensor]]) -> None:
    """Averages over the batches, of the channels that are open."""
    norm.reset_running_stats()
    norm.num_batches_tracked += len(moments)
    means, variances = map(torch.stack, zip(*moments, strict=True))
    norm.running_mean[: means.shape[1]] = means.mean(0)
    norm.running_var[: means.shape[1]] = variances.mean(0)
