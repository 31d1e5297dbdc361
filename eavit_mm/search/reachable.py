"""Whether any subnet of a space keeps the limits on its costs."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from eavit_mm.search.limits import shown
from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.cost_table import CostTable

if TYPE_CHECKING:
    from eavit_mm.search.objectives import Objectives

# Subnets that are drawn, how many of the best of them are improved, and
# changes of each that are tried.
_DRAWS = 4000
_STARTS = 8
_VARIATIONS = 500
# Changes that are tried on the way from one member within limits to another.
_STEPS = 50

Loss = Callable[[Subnet], float]


def check_reachable(objectives: 'Objectives', space: SearchSpace) -> None:
    """Raises unless a subnet is found that keeps all limits on cost.

    Raises:
        ValueError: Gives the reachable range of each limited cost, and the
            costs that come nearest to keeping all limits.
    """
    nearest = nearest_to_limits(objectives, space)
    if objectives.allows_costs(nearest):
        return
    ranges = {
        name: cost_range(objectives.costs[name], space)
        for name in objectives.limited_costs
    }
    for name, (least, most) in ranges.items():
        low, high = objectives.limits[name]
        if (low is not None and low > most) or (
            high is not None and high < least
        ):
            raise ValueError(
                f'constraints: {name} of {shown(low)} to {shown(high)} '
                f'cannot be reached; this space reaches {shown(least)} to '
                f'{shown(most)}'
            )
    found = {name: objectives.costs[name](nearest) for name in ranges}
    raise ValueError(
        f'constraints={dict(objectives.limits)}: no subnet was found that '
        f'keeps them all; the nearest has {shown_values(found)}. Alone, '
        + ', '.join(
            f'{name} reaches {shown(least)} to {shown(most)}'
            for name, (least, most) in ranges.items()
        )
    )


def shown_values(values: Mapping[str, float]) -> str:
    """Names and values in a message."""
    return ' and '.join(f'{k} of {shown(v)}' for k, v in values.items())


def cost_range(cost: Loss, space: SearchSpace) -> tuple[float, float]:
    """Lowest and highest cost of any subnet of a space.

    Args:
        cost: Adds up over branches. It need not rise with every width, as
            measured times do not.
        space: Of the subnets.
    """
    table = CostTable(space, cost)
    return table.lowest, table.highest


def nearest_to_limits(objectives: 'Objectives', space: SearchSpace) -> Subnet:
    """A subnet that keeps the limits on cost, else one that nearly does.

    Looks at networks of uniform width and at drawn ones, and improves the
    best of them: by single steps, then by several changes at once.
    """
    landmarks = _landmarks(objectives, space)
    for subnet in landmarks:
        if objectives.allows_costs(subnet):
            return subnet
    loss = _excess(objectives)
    rng = np.random.default_rng(0)
    subnets = [*landmarks, *(space.sample(rng) for _ in range(_DRAWS))]
    ends: list[Subnet] = []
    for start in sorted(dict.fromkeys(subnets), key=loss)[:_STARTS]:
        end = descend(space, start, loss)
        ends.append(_vary(space, end, loss, rng))
        if not loss(ends[-1]):
            break
    return min(ends, key=loss)


def wander(
    objectives: 'Objectives',
    space: SearchSpace,
    subnet: Subnet,
    rng: np.random.Generator,
) -> Subnet:
    """Another member within the limits on cost, some changes away.

    Args:
        objectives: With the limits.
        space: Of the members.
        subnet: Keeps them.
        rng: Draws the changes.
    """
    for _ in range(_STEPS):
        other = _varied(space, subnet, rng)
        if objectives.allows_costs(other):
            subnet = other
    return subnet


def _excess(objectives: 'Objectives') -> Loss:
    """By how much a subnet breaks the limits on cost; 0: it keeps them."""
    return lambda subnet: sum(
        max(v, 0.0) for v in objectives.cost_violations(subnet)
    )


def _vary(
    space: SearchSpace, subnet: Subnet, loss: Loss, rng: np.random.Generator
) -> Subnet:
    """Takes changes of a subnet that do not raise the loss."""
    least = loss(subnet)
    for _ in range(_VARIATIONS if least else 0):
        other = _varied(space, subnet, rng)
        found = loss(other)
        if found <= least:  # equals too: other changes lie around them
            subnet, least = other, found
    return subnet


def _varied(
    space: SearchSpace, subnet: Subnet, rng: np.random.Generator
) -> Subnet:
    """A member with up to three other genes."""
    low, high = space.genome.bounds
    genes = space.encode(subnet)
    places = rng.integers(len(genes), size=rng.integers(1, 4))
    genes[places] = rng.integers(low[places], high[places] + 1)
    indices, closed = space.genome.decode(genes)
    off = [branch for branch in space.branches if branch in closed]
    return space.build(indices, off[: space.max_off])


def _landmarks(objectives: 'Objectives', space: SearchSpace) -> list[Subnet]:
    """Where most limits are kept: the corners and uniform networks."""
    costs = [objectives.costs[name] for name in objectives.limited_costs]
    return [
        space.largest,
        *(CostTable(space, cost).cheapest for cost in costs),
        *space.uniform_ladder,
    ]


def descend(space: SearchSpace, subnet: Subnet, loss: Loss) -> Subnet:
    """Takes the best step to a neighbour for as long as that helps."""
    least = loss(subnet)
    while True:
        best = min(_neighbours(space, subnet), key=loss, default=subnet)
        if loss(best) >= least:
            return subnet
        subnet, least = best, loss(best)


def _neighbours(space: SearchSpace, subnet: Subnet) -> Iterator[Subnet]:
    """Members that differ in one choice, or in a branch that is off."""
    indices, closed = space.decisions(subnet)
    off = [branch for branch in space.branches if branch in closed]
    for place, cell in enumerate(space.cells):
        for index in range(cell.num_choices):
            if index != indices[place]:
                changed = [*indices[:place], index, *indices[place + 1 :]]
                yield space.build(changed, off)
    for branch in off:
        yield space.build(indices, [b for b in off if b != branch])
    for branch in space.branches:
        if branch in off:
            continue
        if len(off) < space.max_off:
            yield space.build(indices, [*off, branch])
        for other in off:
            rest = [b for b in off if b != other]
            yield space.build(indices, [*rest, branch])
