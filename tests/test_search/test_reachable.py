import re

import pytest

from .test_objectives import built
from .toys import SPACES, costs_of


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
    least = costs['macs'](space.cheapest(costs['macs']))
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
