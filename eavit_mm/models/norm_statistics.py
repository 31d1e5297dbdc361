"""Statistics of BatchNorms for one subnet.

Training mixes those of all subnets, which have features of other means and
deviations (Yu and Huang, 2019, re-estimate them too).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from eavit_mm.space import Subnet


@contextmanager
def norm_statistics_of(
    model: Any, subnet: Subnet | None, batches: Iterable[Any]
) -> Iterator[None]:
    """Gives BatchNorms a subnet's own statistics inside a ``with`` block.

    To evaluate or export the subnet there; outside of it the supernet is as
    it was. Without a BatchNorm that keeps statistics no batch is read.

    Args:
        model: The elastic model; what is no BatchNorm runs in evaluation
            mode.
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
            _estimate(model, subnet, batches, norms)
        yield
    finally:
        for buffer, value in kept:
            buffer.copy_(value)


@torch.no_grad()
def _estimate(
    model: Any, subnet: Subnet | None, batches: Iterable[Any], norms: list[Any]
) -> None:
    """Runs the batches, in which the norms learn and nothing else does."""
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # the mean of all batches
    try:
        batch = None
        with model.backbone.use(subnet):
            for batch in batches:
                data = model.calibration_data(batch)
                model._run_forward(data, mode='tensor')
        if batch is None:
            raise ValueError(
                'statistics of a BatchNorm need at least one batch of data'
            )
    finally:
        for module, mode in modes.items():
            module.training = mode
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
