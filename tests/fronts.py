"""A Pareto front without a search."""

from typing import Any

import numpy as np

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
