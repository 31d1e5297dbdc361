"""From a budget to a subnet of an elastic model."""

import logging
from collections.abc import Callable
from typing import Any

from mmengine.logging import print_log

from eavit_mm.space import Budget, Subnet

PARTS = ('backbone', 'neck', 'head', 'total')


def cost_of(
    model: Any, kind: str, count: str = 'exact', part: str = 'total'
) -> Callable[[Subnet], int]:
    """The cost function that a kind of budget limits.

    Args:
        model: An elastic model.
        kind: 'share', 'macs' or 'params', see :class:`Budget`.
        count: Of the MACs, 'exact' or 'paper'.
        part: Of the model.

    Raises:
        ValueError: If the model has no such part, or the cost of that kind
            is not known.
    """
    parts = list(model.macs())
    if part not in parts:
        raise ValueError(f'part={part!r}; this model has {parts}')
    if kind == 'latency':
        raise ValueError(
            'a budget in ms needs a latency table of this device, which '
            'this version cannot build; give a share, MACs or params'
        )
    if kind == 'params':
        return lambda subnet: int(model.params(subnet)[part])
    return lambda subnet: int(model.macs(subnet, count)[part])


def subnet_within(
    model: Any, budget: Budget, count: str = 'exact', part: str = 'total'
) -> Subnet:
    """The largest uniform subnet within a budget.

    Where even the smallest uniform subnet is too large, the cheapest member
    of the space, which may have branches off.

    Args:
        model: An elastic model.
        budget: A share is of the largest subnet's cost.
        count: Of the MACs, 'exact' or 'paper'.
        part: Of the model that the budget limits.

    Raises:
        ValueError: If nothing fits; gives the reachable range.
    """
    cost = cost_of(model, budget.kind, count, part)
    space = model.backbone.space
    highest = cost(space.largest)
    limit = budget.value * (highest if budget.kind == 'share' else 1)
    cheapest = space.cheapest(cost)
    lowest = cost(cheapest)
    if lowest > limit:
        unit = 'parameters' if budget.kind == 'params' else 'MACs'
        raise ValueError(
            f'budget {budget.text}: {limit:,.0f} {unit} of the {part} cannot '
            f'be reached; this space reaches {lowest:,} to {highest:,} '
            f'({lowest / highest:.1%} to 100 %)'
        )
    if limit > highest:
        print_log(
            f'budget {budget.text} is above the largest network, which has '
            f'{highest:,}',
            'current',
            logging.WARNING,
        )
    if cost(space.uniform_ladder[0]) > limit:
        return cheapest
    return space.uniform_within(limit, cost)
