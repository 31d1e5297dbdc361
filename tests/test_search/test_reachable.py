import re

import numpy as np
import pytest

from eavit_mm.search.reachable import Reachable
from eavit_mm.space import SearchSpace
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.latency import LatencyTable

from .test_objectives import built
from .toys import DEEP, SPACES, costs_of, keeps_costs


@pytest.mark.parametrize(
    ('limits', 'words'),
    [
        # Both FFNs may be off.
        (dict(params=(None, '3params')), 'params of any to 3 .* 4 to 8'),
        (dict(macs=('41kMACs', None)), 'macs of 41,000 to any .* 0 to 40,000'),
        (dict(params=('9params', '10params')), 'params of 9 to 10 .* 4 to 8'),
    ],
)
def test_limits_out_of_reach_say_what_is_in_reach(limits, words):
    with pytest.raises(ValueError, match=f'constraints: {words}'):
        built(constraints=limits)


def test_limits_at_the_ends_can_be_reached():
    space = SPACES['free']
    costs = costs_of(space)
    least = costs['macs'](CostTable(space, costs['macs']).cheapest)
    built(
        space=space,
        costs=costs,
        constraints=dict(macs=(1.0, None), params=(None, 1.0)),
    )
    built(
        space=space,
        costs=costs,
        constraints=dict(macs=(None, f'{least}macs')),
    )
    with pytest.raises(ValueError, match=re.escape(f'{least:,} to')):
        built(
            space=space,
            costs=costs,
            constraints=dict(macs=(None, f'{least - 1}macs')),
        )


def limited(constraints, space):
    return built(space=space, costs=costs_of(space), constraints=constraints)


@pytest.mark.parametrize(
    'constraints',
    [
        # Each alone is reached.
        dict(macs=(None, 0.3), params=(0.9, None)),
        dict(macs=(0.9, None), params=(None, 0.5)),
        # Nothing lies in between.
        dict(macs=(0.5, 0.50001)),
    ],
)
@pytest.mark.parametrize('name', ['free', 'tied', 'hydra'])
def test_limits_that_nothing_keeps_together(name, constraints):
    with pytest.raises(ValueError, match='cannot be|no subnet was') as error:
        limited(constraints, SPACES[name])
    text = str(error.value)
    costs = costs_of(SPACES[name])
    for cost in constraints:
        least = costs[cost](CostTable(SPACES[name], costs[cost]).cheapest)
        most = costs[cost](SPACES[name].largest)
        assert f'{cost} reaches {least:,} to {most:,}' in text
        assert re.search(rf'the nearest has .*{cost} of [\d,]+', text)


def test_what_comes_nearest_is_told():
    space = SearchSpace([8, 16], [1], [4, 8], 1, 8, max_off=0)
    costs = costs_of(space)
    members = [space.build([i, 0, j]) for i in (0, 1) for j in (0, 1)]
    macs = sorted(costs['macs'](subnet) for subnet in members)
    limits = dict(macs=(f'{macs[1] + 1}macs', f'{macs[2] - 9}macs'))
    words = f'the nearest has macs of {macs[1]:,}. Alone'
    with pytest.raises(ValueError, match=re.escape(words)):
        limited(limits, space)


@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize('space', [*SPACES.values(), DEEP])
def test_limits_that_one_subnet_keeps_are_found(space, seed):
    """A window around the costs of a drawn subnet."""
    subnet = space.sample(np.random.default_rng(seed))
    constraints = {
        name: (
            f'{0.98 * cost(subnet):.9f}{name}',
            f'{1.02 * cost(subnet):.9f}{name}',
        )
        for name, cost in costs_of(space).items()
    }
    objectives = limited(constraints, space)
    reachable = Reachable(space, objectives.costs, objectives.limits)
    assert keeps_costs(objectives, reachable.any_member)
    rng = np.random.default_rng(seed)
    near = {reachable.near(space.sample(rng), rng) for _ in range(5)}
    assert all(keeps_costs(objectives, subnet) for subnet in near)
    assert all(map(reachable.keeps, near))


@pytest.mark.parametrize('seed', range(3))
def test_a_cost_need_not_rise_with_every_width(seed):
    space = SearchSpace(
        [8, 16, 24], [1, 2], [4, 8, 12], 2, 8, max_off=seed % 3
    )
    rng = np.random.default_rng(seed)

    def branch(widths):
        return {e: {w: rng.random() for w in widths} for e in (8, 16, 24)}

    table = LatencyTable(
        *('a device', 'float32', 1, 1, 5, 8),
        {e: rng.random() for e in (8, 16, 24)},
        branch((1, 2)),
        branch((4, 8, 12)),
    )
    highest = CostTable(space, table).highest
    costs = {**costs_of(space), 'latency': table}
    assert highest > table(space.largest)
    most = f'{highest - 1e-9:.12f}ms'
    built(space=space, costs=costs, constraints=dict(latency=(most, None)))
    beyond = dict(latency=(f'{highest + 1e-3:.12f}ms', None))
    with pytest.raises(ValueError, match=rf'to {highest:.6g} \('):
        built(space=space, costs=costs, constraints=beyond)
