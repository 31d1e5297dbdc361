"""Supernets without training, and Pareto fronts without a search."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from eavit_mm.space import Subnet
from eavit_mm.space.pareto import Member, ParetoFront


def front_of(
    model: Any,
    number: int = 8,
    subnets: Iterable[Subnet] | None = None,
    metric: str = 'accuracy/top1',
) -> ParetoFront:
    """Uniform subnets, or given ones, as if a search had found them."""
    space = model.backbone.space
    if subnets is None:
        shares = np.linspace(0.1, 1, number)
        subnets = [space.uniform(float(share)) for share in shares]
    members: list[Member] = []
    for i, subnet in enumerate(subnets):
        macs = model.macs(subnet)['total']
        params = model.params(subnet)['total']
        if not members or macs > members[-1].macs:
            metrics = {metric: 50.0 + i}
            members.append(Member(subnet, metrics, macs, params))
    return ParetoFront(
        space,
        metric,
        'greater',
        ('metric', 'macs'),
        tuple(members),
        tuple(members),
        0.5,
        100,
    )


def randomise_vit(model: Any) -> None:
    """Gives every weight a value of its own, the norms' around 1."""
    rng = torch.Generator().manual_seed(0)
    for name, p in model.named_parameters():
        is_scale = 'ln' in name and name.endswith('weight')
        noise = torch.randn(p.shape, generator=rng)
        p.data.copy_(0.15 * noise + float(is_scale))
