"""Within which ranges the values of a subnet must lie."""

from collections.abc import Collection, Mapping
from typing import Any

from eavit_mm.options import check_mapping, is_finite
from eavit_mm.space import Budget
from eavit_mm.space.fitting import Range
from eavit_mm.space.pareto import COSTS, METRIC

NO_TABLE = (
    'latency needs a table of this device (latency_table=FILE, made by '
    'tools/latency.py build)'
)


def read_limits(limits: Any, largest: Mapping[str, float]) -> dict[str, Range]:
    """Ranges from what a config says.

    Args:
        limits: Name to (lowest, highest): None, a number for the metric, a
            share of the largest or '3GMACs', '20Mparams', '5ms' for a cost.
        largest: Costs of the largest subnet.

    Raises:
        ValueError: If a name, a unit or a range is not valid.
    """
    check_mapping('constraints', limits, 'names and ranges')
    found: dict[str, Range] = {}
    for name, bounds in limits.items():
        _check_name(name, largest)
        if not isinstance(bounds, list | tuple) or len(bounds) != 2:
            raise ValueError(
                f'constraints: {name}={bounds!r}; must be (lowest, highest), '
                'None for no limit'
            )
        low, high = bounds
        if name != METRIC and is_finite(low) and low == 0:
            low = None  # no cost is below 0
        low, high = (_bound(name, bound, largest) for bound in (low, high))
        if low is not None and high is not None and low > high:
            raise ValueError(
                f'constraints: {name}={bounds!r}; the lowest is above the '
                'highest'
            )
        found[name] = (low, high)
    return found


def _check_name(name: Any, known: Collection[str]) -> None:
    valid = (METRIC, *known)
    if name in valid:
        return
    if name in COSTS:
        raise ValueError(f'constraints: {name}: {NO_TABLE}')
    raise ValueError(
        f'constraints: {name!r} is unknown; must be of {list(valid)}'
    )


def _bound(
    name: str, bound: Any, largest: Mapping[str, float]
) -> float | None:
    if bound is None:
        return None
    if name == METRIC:
        if not is_finite(bound):
            raise ValueError(
                f'constraints: metric: {bound!r}; must be a number'
            )
        return float(bound)
    try:
        budget = Budget.parse(bound)
    except ValueError as error:
        raise ValueError(f'constraints: {name}: {error}') from error
    if budget.kind == 'share':
        return budget.value * largest[name]
    if budget.kind != name:
        raise ValueError(
            f'constraints: {name}: {bound!r} limits {budget.kind}'
        )
    return budget.value
