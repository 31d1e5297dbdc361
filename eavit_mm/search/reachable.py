"""Whether any subnet of a space keeps the limits on its costs."""

from typing import TYPE_CHECKING

from eavit_mm.space import SearchSpace
from eavit_mm.space.pareto import METRIC

if TYPE_CHECKING:
    from eavit_mm.search.objectives import Objectives


def check_reachable(objectives: 'Objectives', space: SearchSpace) -> None:
    """Raises if a limit on a cost lies outside of what the space reaches.

    Raises:
        ValueError: Gives the reachable range.
    """
    for name, (low, high) in objectives.limits.items():
        if name == METRIC:
            continue
        cost = objectives.costs[name]
        least, most = cost(space.cheapest(cost)), objectives.largest[name]
        if (low is not None and low > most) or (
            high is not None and high < least
        ):
            raise ValueError(
                f'constraints: {name} of {_number(low)} to {_number(high)} '
                f'cannot be reached; this space reaches {_number(least)} to '
                f'{_number(most)}'
            )


def _number(value: float | None) -> str:
    if value is None:
        return 'any'
    return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.4g}'
