"""Limits on the values of a subnet, and the members that keep them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from eavit_mm.options import check_mapping, is_finite
from eavit_mm.space import Budget, SearchSpace, Subnet
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.fitting import Range, Walker, out_of_reach, shown
from eavit_mm.space.pareto import COSTS, METRIC

NO_TABLE = (
    'latency needs a table of this device (latency_table=FILE, made by '
    'tools/latency.py build)'
)
# Drawn members that walks begin with where uniform ones lead nowhere.
_DRAWS = 40


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
        if name in COSTS and name not in largest:
            raise ValueError(f'constraints: {name}: {NO_TABLE}')
        valid = [METRIC, *largest]
        if name not in valid:
            raise ValueError(
                f'constraints: {name!r} is unknown; must be of {valid}'
            )
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


def _bound(
    name: str, bound: Any, largest: Mapping[str, float]
) -> float | None:
    if bound is None:
        return None
    try:
        if name == METRIC:
            if not is_finite(bound):
                raise ValueError(f'{bound!r}; must be a number')
            return float(bound)
        budget = Budget.parse(bound)
        if budget.kind == 'share':
            return budget.value * largest[name]
        if budget.kind != name:
            raise ValueError(f'{bound!r} limits {budget.kind}')
    except ValueError as error:
        raise ValueError(f'constraints: {name}: {error}') from error
    return budget.value


class Reachable:
    """The members that keep limits on their costs.

    Args:
        space: The space of the members.
        tables: Name to the costs of the members.
        limits: Name to the range that a value must lie in; names that are no
            cost do not matter.

    Attributes:
        any_member: A member that keeps all limits.

    Raises:
        ValueError: If no member is found that keeps all limits. Gives the
            reachable range of each limited cost, and the costs that come
            nearest to keeping them.
    """

    def __init__(
        self,
        space: SearchSpace,
        tables: Mapping[str, CostTable],
        limits: Mapping[str, Range],
    ) -> None:
        self.space = space
        self.ranges = {
            name: limits[name]
            for name in tables
            if limits.get(name, (None, None)) != (None, None)
        }
        self.tables = {name: tables[name] for name in self.ranges}
        self.walker = Walker(space, self.tables)
        for name, (low, high) in self.ranges.items():
            table = tables[name]
            if (low is not None and low > table.highest) or (
                high is not None and high < table.lowest
            ):
                asked = f'{name} of {shown(low)} to {shown(high)}'
                raise ValueError(out_of_reach(f'constraints: {asked}', table))
        self.any_member = self.walker.reach(self._starts(), self.ranges)
        if not self.keeps(self.any_member):
            raise ValueError(self._none_found())

    def _starts(self) -> Iterator[Subnet]:
        yield from (self.space.largest, *self.space.uniform_ladder)
        rng = np.random.default_rng(0)
        yield from (self.space.sample(rng) for _ in range(_DRAWS))

    def _none_found(self) -> str:
        costs = {
            name: table.of_subnet(self.any_member)
            for name, table in self.tables.items()
        }
        ends = ', '.join(
            f'{name} reaches {shown(table.lowest)} to {shown(table.highest)}'
            for name, table in self.tables.items()
        )
        return (
            f'constraints={self.ranges}: no subnet was found that keeps them '
            f'all; the nearest has {shown_values(costs)}. Alone, {ends}'
        )

    def near(self, subnet: Subnet, rng: np.random.Generator) -> Subnet:
        """A member within the limits, some drawn steps from a given one."""
        found = self.walker.approach(subnet, self.ranges, rng)
        if self.keeps(found):
            return found
        # From here there is no way: from another one there is.
        return self.walker.reach([subnet, self.any_member], self.ranges, rng)

    def keeps(self, subnet: Subnet) -> bool:
        """Whether a member keeps all limits on its costs."""
        return not self.walker.excess(subnet, self.ranges)


def shown_values(values: Mapping[str, float]) -> str:
    """Names and values in a message."""
    return ' and '.join(f'{k} of {shown(v)}' for k, v in values.items())
