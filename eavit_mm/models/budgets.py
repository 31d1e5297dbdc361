"""From a budget to a subnet of an elastic model."""

import logging
from collections.abc import Callable
from typing import Any

from mmengine.logging import print_log

from eavit_mm.space import Budget, Subnet
from eavit_mm.space.latency import LatencyTable

_UNITS = dict(params='parameters', latency='ms')
PARTS = ('backbone', 'neck', 'head', 'total')


def cost_of(
    model: Any,
    kind: str,
    count: str = 'exact',
    part: str = 'total',
    table: LatencyTable | None = None,
) -> Callable[[Subnet], float]:
    """The cost function that a kind of budget limits.

    Args:
        model: An elastic model.
        kind: 'share', 'macs', 'params' or 'latency', see :class:`Budget`.
        count: Of the MACs, 'exact' or 'paper'.
        part: Of the model; a latency is always the whole model's.
        table: Of latencies.

    Raises:
        ValueError: If the model has no such part, or latency is asked for
            without a table.
    """
    parts = list(model.macs())
    if part not in parts:
        raise ValueError(f'part={part!r}; this model has {parts}')
    if kind == 'latency':
        if table is None:
            raise ValueError(
                'a limit in ms needs a latency table of the device '
                '(latency_table=FILE; tools/latency.py build makes one)'
            )
        return table
    if kind == 'params':
        return lambda subnet: int(model.params(subnet)[part])
    return lambda subnet: int(model.macs(subnet, count)[part])


def subnet_within(
    model: Any,
    budget: Budget,
    count: str = 'exact',
    part: str = 'total',
    table: LatencyTable | None = None,
) -> Subnet:
    """The largest uniform subnet within a budget.

    Where even the smallest uniform subnet is too large, the cheapest member
    of the space, which may have branches off.

    Args:
        model: An elastic model.
        budget: A share is of the largest subnet's cost.
        count: Of the MACs, 'exact' or 'paper'.
        part: Of the model that the budget limits.
        table: For a budget in milliseconds.

    Raises:
        ValueError: If nothing fits; gives the reachable range.
    """
    cost = cost_of(model, budget.kind, count, part, table)
    space = model.backbone.space
    highest = cost(space.largest)
    limit = budget.value * (highest if budget.kind == 'share' else 1)
    cheapest = space.cheapest(cost)
    lowest = cost(cheapest)
    if lowest > limit:
        unit = _UNITS.get(budget.kind, 'MACs')
        raise ValueError(
            f'budget {budget.text}: {limit:,.6g} {unit} of the {part} cannot '
            f'be reached; this space reaches {lowest:,.9g} to '
            f'{highest:,.9g} ({lowest / highest:.1%} to 100 %)'
        )
    if limit > highest:
        print_log(
            f'budget {budget.text} is above the largest network, which has '
            f'{highest:,.9g}',
            'current',
            logging.WARNING,
        )
    if cost(space.uniform_ladder[0]) > limit:
        return cheapest
    return space.uniform_within(limit, cost)
