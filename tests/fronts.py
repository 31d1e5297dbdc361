"""Supernets without training, and Pareto fronts without a search."""

from typing import Any

import numpy as np
import torch

from eavit_mm.space.pareto import Member, ParetoFront


def front_of(model: Any, number: int = 8) -> ParetoFront:
    """Uniform subnets as if a search had found them."""
    space = model.backbone.space
    members = []
    for i, s in enumerate(np.linspace(0.1, 1, number)):
        subnet = space.uniform(float(s))
        macs = model.macs(subnet)['total']
        if members and macs == members[-1].macs:
            continue
        members.append(
            Member(
                subnet,
                {'accuracy/top1': 50.0 + i},
                macs,
                model.params(subnet)['total'],
            )
        )
    return ParetoFront(
        space,
        'accuracy/top1',
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
