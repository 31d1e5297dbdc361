import re

import pytest

from eavit_mm.search.front import build_front

from .toys import SPACES, Search

SPACE = SPACES['free']


def searched(constraints=None):
    search = Search(SPACE, constraints=constraints)
    ladder = list(SPACE.uniform_ladder)
    return search, [search.member(subnet) for subnet in ladder]


def test_what_was_chosen_is_evaluated_again():
    search, members = searched()
    asked = []

    def again(subnets):
        asked.extend(subnets)
        search.metric = lambda subnet: 50.0
        return [search.member(subnet) for subnet in subnets]

    first = build_front(search.objectives, members, 3)
    front = build_front(search.objectives, members, 3, again)
    chosen = [m.subnet for m in (*first.members, *first.references)]
    assert asked == list(dict.fromkeys(chosen))
    # All are equal now: only the cheapest is left.
    assert [m.subnet for m in front.members] == [first.members[0].subnet]
    assert front.evaluations == len(members)


def test_a_front_says_its_limits_on_cost():
    search, members = searched(dict(macs=(None, 0.6), metric=(1, None)))
    front = build_front(search.objectives, members, 3)
    assert front.limits == dict(macs=(None, 0.6 * members[-1].macs))
    assert all(map(front.allows, (*front.members, *front.references)))
    assert not front.allows(members[-1])
    search, members = searched()
    assert build_front(search.objectives, members, 3).limits is None


@pytest.mark.parametrize('again', [None, lambda subnets: 1 / 0])
def test_limits_that_nothing_kept(again):
    """Said by its costs, also where nothing is left to evaluate again."""
    search, members = searched(dict(macs=(0.5, 0.6), params=(None, 0.7)))
    members = [members[0], members[-1]]
    nearest = members[0]
    words = (
        'none of the 2 evaluated subnets keeps them; the nearest has macs of '
        f'{nearest.macs:,} and params of {nearest.params:,}'
    )
    with pytest.raises(ValueError, match=f'{re.escape(words)}$'):
        build_front(search.objectives, members, 3, again)


def test_a_limit_on_the_metric_that_nothing_kept():
    search, members = searched(dict(metric=(101, None)))
    best = max(m.metrics['top1'] for m in members)
    with pytest.raises(ValueError, match=f'nearest has top1 of {best:.6g}$'):
        build_front(search.objectives, members, 3)


def test_limits_that_nothing_keeps_in_float32():
    search, members = searched(dict(metric=(60, None)))

    def again(subnets):
        search.metric = lambda subnet: 59.0
        return [search.member(subnet) for subnet in subnets]

    words = r'best of 4 .* in float32, .* top1 of 59\. Others .* dtype='
    with pytest.raises(ValueError, match=words):
        build_front(search.objectives, members, 3, again)
