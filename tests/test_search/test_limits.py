import re

import numpy as np
import pytest

from eavit_mm.search.limits import read_limits
from eavit_mm.space import SearchSpace
from eavit_mm.space.cost_table import CostTable

from .test_objectives import built
from .toys import DEEP, SPACES, costs_of, keeps_costs

LARGEST = dict(macs=4e9, params=2e7, latency=8.0)


@pytest.mark.parametrize(
    ('limits', 'expected'),
    [
        (
            dict(
                metric=(30, 90.5),
                params=('5Mparams', 0.5),
                latency=('2ms', 0.75),
                macs=[None, '3.5GMACs'],
            ),
            dict(
                metric=(30.0, 90.5),
                params=(5e6, 1e7),
                latency=(2.0, 6.0),
                macs=(None, 3.5e9),
            ),
        ),
        (dict(macs=('500MMACs', 1)), dict(macs=(5e8, 4e9))),
        (dict(macs=(None, None)), dict(macs=(None, None))),
        # No cost is below 0, but a metric may be.
        (dict(macs=(0, 0.5)), dict(macs=(None, 2e9))),
        (dict(metric=(0, None)), dict(metric=(0.0, None))),
    ],
)
def test_limits_of_a_config(limits, expected):
    assert read_limits(limits, LARGEST) == expected


@pytest.mark.parametrize(
    ('limits', 'words'),
    [
        ([('macs', (0, 1))], 'constraints=.*must be a dict'),
        (dict(flops=(None, 0.5)), "constraints: 'flops' is unknown; must be"),
        (dict(macs=(None, 0)), 'constraints: macs: budget=0; must be a share'),
        (dict(macs=(False, 0.5)), 'constraints: macs: budget=False; must be'),
        (dict(macs=0.5), r'constraints: macs=0.5; must be \(lowest, highest'),
        (dict(macs=(0.1, 0.2, 0.3)), r'must be \(lowest, highest\)'),
        (dict(macs='3GMACs'), "macs='3GMACs'; must be"),
        (dict(macs=('3GMACs', 0.5)), 'the lowest is above the highest'),
        (dict(macs=(None, '5ms')), "macs: '5ms' limits latency"),
        (dict(macs=(None, 1.5)), 'constraints: macs: .*1.5; must be a share'),
        (dict(metric=('90', None)), "metric: '90'; must be a number"),
        (dict(metric=(float('nan'), None)), 'metric: nan; must be a number'),
        (dict(metric=(90, 80)), 'the lowest is above the highest'),
    ],
)
def test_wrong_limits(limits, words):
    with pytest.raises(ValueError, match=words):
        read_limits(limits, LARGEST)


def test_a_latency_without_a_table():
    words = r'constraints: latency: .* a table .*tools/latency.py build'
    with pytest.raises(ValueError, match=words):
        built(constraints=dict(latency=(None, '5ms')))


# Which members keep them.


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


def limited(constraints, space):
    return built(space=space, costs=costs_of(space), constraints=constraints)


def test_limits_at_the_ends_can_be_reached():
    space = SPACES['free']
    macs = costs_of(space)['macs']
    least = macs(CostTable(space, macs).cheapest)
    limited(dict(macs=(1.0, None), params=(None, 1.0)), space)
    limited(dict(macs=(None, f'{least}macs')), space)
    with pytest.raises(ValueError, match=re.escape(f'{least:,} to')):
        limited(dict(macs=(None, f'{least - 1}macs')), space)


@pytest.mark.parametrize(
    'constraints',
    [
        # Each alone is reached.
        dict(macs=(None, 0.3), params=(0.9, None)),
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
    rng = np.random.default_rng(seed)
    subnet = space.sample(rng)
    constraints = {
        name: (
            f'{0.98 * cost(subnet):.9f}{name}',
            f'{1.02 * cost(subnet):.9f}{name}',
        )
        for name, cost in costs_of(space).items()
    }
    objectives = limited(constraints, space)
    reachable = objectives.reachable
    assert keeps_costs(objectives, reachable.any_member)
    drawn = [space.sample(rng) for _ in range(5)]
    for subnet in drawn:
        assert reachable.keeps(subnet) == keeps_costs(objectives, subnet)
        near = reachable.near(subnet, rng)
        assert reachable.keeps(near)
        assert keeps_costs(objectives, near)


def test_a_cost_need_not_rise_with_every_width():
    def limit(least):
        cost = dict(macs=lambda subnet: 100 - sum(subnet.num_heads))
        constraints = dict(macs=(f'{least}macs', None))
        built(SPACES['rigid'], cost, constraints=constraints)

    limit(97)  # of the narrowest; the largest has 88
    with pytest.raises(ValueError, match=r'to 97 \('):
        limit(98)
