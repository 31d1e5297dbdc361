"""Members of a space whose costs lie within limits."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import numpy as np

from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.fitting import Range, Walker, out_of_reach, shown

# Drawn members that walks begin with where uniform ones lead nowhere.
_DRAWS = 40


class Reachable:
    """The members that keep limits on their costs.

    Args:
        space: The space of the members.
        costs: Name to cost of a subnet; those without a limit do not matter.
        limits: Name to the range that a value must lie in.
    """

    def __init__(
        self,
        space: SearchSpace,
        costs: Mapping[str, Callable[[Subnet], float]],
        limits: Mapping[str, Range],
    ) -> None:
        self.space = space
        self.ranges = {
            name: limits[name]
            for name in costs
            if limits.get(name, (None, None)) != (None, None)
        }
        self.tables = {
            name: CostTable(space, costs[name]) for name in self.ranges
        }
        self.walker = Walker(space, self.tables)

    @cached_property
    def any_member(self) -> Subnet:
        """A member that keeps all limits, else the one that comes nearest."""
        return self.walker.reach(self._starts(), self.ranges)

    def _starts(self) -> Iterator[Subnet]:
        yield from (self.space.largest, *self.space.uniform_ladder)
        rng = np.random.default_rng(0)
        yield from (self.space.sample(rng) for _ in range(_DRAWS))

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

    def check(self) -> None:
        """Raises unless a member is found that keeps all limits.

        Raises:
            ValueError: Gives the reachable range of each limited cost, and
                the costs that come nearest to keeping all limits.
        """
        for name, (low, high) in self.ranges.items():
            table = self.tables[name]
            if (low is not None and low > table.highest) or (
                high is not None and high < table.lowest
            ):
                asked = f'{name} of {shown(low)} to {shown(high)}'
                raise ValueError(out_of_reach(f'constraints: {asked}', table))
        if self.keeps(self.any_member):
            return
        costs = {
            name: table.of_subnet(self.any_member)
            for name, table in self.tables.items()
        }
        ends = ', '.join(
            f'{name} reaches {shown(table.lowest)} to {shown(table.highest)}'
            for name, table in self.tables.items()
        )
        raise ValueError(
            f'constraints={self.ranges}: no subnet was found that keeps them '
            f'all; the nearest has {shown_values(costs)}. Alone, {ends}'
        )


def shown_values(values: Mapping[str, float]) -> str:
    """Names and values in a message."""
    return ' and '.join(f'{k} of {shown(v)}' for k, v in values.items())
