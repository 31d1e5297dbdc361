from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from eavit_mm.registry import TASK_UTILS
from eavit_mm.search.algorithms import RandomSearch, SubnetNSGA2
from eavit_mm.search.front import build_front

from .toys import DEEP, ONE, SPACES, TINY, Search, keeps_costs

STANDARD = dict(type='eavit_mm.RankAndCrowding')
ALGORITHMS = dict(
    ours=partial(SubnetNSGA2, 10),
    standard=partial(SubnetNSGA2, 10, survival=STANDARD),
    chance=partial(RandomSearch, 10),
)
EVERY = pytest.mark.parametrize('name', ALGORITHMS)


def order(search, name, seed=0, number=40):
    return [m.subnet for m in search.run(ALGORITHMS[name](), seed, number)]


@EVERY
def test_a_search_is_a_function_of_its_seed_alone(name):
    """Killed and resumed, or with more evaluations: the same beginning."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        whole = Search(SPACES['free']).run(ALGORITHMS[name](), 5, 40)
        # In a generation, between two, and after a kill in one: the results
        # of a part of it are known.
        for number in (1, 10, 14, 40):
            np.random.seed(number)  # noqa: NPY002
            search = Search(SPACES['free'])
            assert search.run(ALGORITHMS[name](), 5, number) == whole[:number]
            assert search.measured == [m.subnet for m in whole[:number]]
            search = Search(SPACES['free'], known=whole[:number])
            assert search.run(ALGORITHMS[name](), 5, 40) == whole
            assert search.measured == [m.subnet for m in whole[number:]]
    finally:
        np.random.set_state(state)  # noqa: NPY002
    assert Search(SPACES['free']).run(ALGORITHMS[name](), 6, 40) != whole
    assert len({member.subnet for member in whole}) == 40


@EVERY
def test_nothing_is_proposed_twice(name):
    search = Search(SPACES['hydra'])
    asked = []
    plain = search.problem.evaluate_subnets

    def watched(subnets):
        asked.extend(subnets)
        return plain(subnets)

    search.problem.evaluate_subnets = watched
    # Of 28: most offspring were there before.
    assert order(search, name, number=25) == asked


@pytest.mark.parametrize('space', SPACES)
@pytest.mark.parametrize('name', ['ours', 'chance'])
def test_everything_is_a_member(name, space):
    search = Search(SPACES[space])
    for subnet in order(search, name, number=30):
        search.space.check(subnet)


@pytest.mark.parametrize('space', [TINY, ONE])
@EVERY
def test_a_search_of_few_members_ends(name, space):
    search = Search(space)
    found = order(search, name, number=50)
    assert len(found) == len(set(found)) == space.size()


@pytest.mark.parametrize(
    ('name', 'limits'),
    [
        ('standard', dict(macs=(0.9, 0.905))),
        ('ours', dict(macs=(0.2, 0.5), params=(None, 0.6))),
        ('ours', dict(macs=(0.3, 0.31), params=(None, 0.31))),
        ('chance', dict(macs=(0.9, 0.905))),
    ],
)
def test_limits_of_cost_hold_for_every_evaluation(name, limits):
    search = Search(DEEP, constraints=limits)
    sampler = dict(type='eavit_mm.UniformSampler')  # draws fast
    members = search.run(ALGORITHMS[name](sampler=sampler), 0, 12)
    # A cost is known beforehand: nothing outside is evaluated.
    assert all(keeps_costs(search.objectives, m.subnet) for m in members)
    assert len(members) > 10
    assert search.objectives.front(members)


def test_a_limit_on_the_metric_holds_on_the_front():
    search = Search(SPACES['free'], constraints=dict(metric=(60, None)))
    members = search.run(SubnetNSGA2(10), 0, 60)
    front = search.objectives.front(members)
    assert len(front) > 2
    assert min(m.metrics['top1'] for m in front) >= 60
    assert min(m.metrics['top1'] for m in members) < 60


@EVERY
@pytest.mark.parametrize(
    'names', [('metric', 'macs', 'params'), ('params', 'metric')]
)
def test_other_objectives(name, names):
    search = Search(SPACES['free'], names=names)
    members = search.run(ALGORITHMS[name](), 0, 40)
    assert len(members) == 40
    front = search.objectives.front(members)
    assert 0 < search.objectives.volume(front) < 1
    macs = [m.macs for m in front]
    assert macs == sorted(macs)


@EVERY
def test_less_may_be_better(name):
    """The metric and 100 minus the metric are the same search."""
    more = Search(SPACES['free'])
    less = Search(SPACES['free'], rule='less')
    found = order(less, name, number=60)
    assert found == order(more, name, number=60)
    members = list(less.evaluations.used.values())
    assert less.volume(members) == pytest.approx(
        more.volume(list(more.evaluations.used.values()))
    )


def test_a_search_finds_better_fronts_than_chance():
    """The worst seed's than the best one's of chance."""

    def volumes(build):
        for seed in range(3):
            search = Search(DEEP)
            yield search.volume(search.run(build(20), seed, 100))

    chance = max(volumes(RandomSearch))
    assert min(volumes(SubnetNSGA2)) > chance
    assert min(volumes(partial(SubnetNSGA2, survival=STANDARD))) > chance


def test_partitions_cover_the_range():
    algorithm = SubnetNSGA2(20)
    Search(DEEP).run(algorithm, 0, 160)
    shares = np.sort(algorithm.pop.get('F')[:, 1])
    assert len(shares) == 20
    assert max(b - a for a, b in pairwise(shares)) < 0.2
    assert shares[0] < 0.15
    assert shares[-1] > 0.85


def test_algorithms_of_a_config():
    for cfg in (
        dict(type='eavit_mm.NSGA2', pop_size=4, survival=STANDARD),
        dict(type='eavit_mm.RandomSearch', pop_size=1),
        # One that draws several at a time.
        dict(
            type='eavit_mm.NSGA2',
            sampler=dict(type='eavit_mm.SandwichSampler'),
        ),
    ):
        algorithm = TASK_UTILS.build(cfg)
        found = Search(SPACES['free']).run(algorithm, number=25)
        assert len({member.subnet for member in found}) == 25


@pytest.mark.parametrize(
    ('kind', 'options', 'words'),
    [
        (SubnetNSGA2, dict(pop_size=3), 'pop_size=3; must be an integer of'),
        (SubnetNSGA2, dict(crossover_prob=2), 'crossover_prob=2; must be'),
        (SubnetNSGA2, dict(mutation_prob=-1), 'mutation_prob=-1; must be'),
        (SubnetNSGA2, dict(p_reset='a'), "p_reset='a'; must be"),
        (SubnetNSGA2, dict(p_off=7), 'p_off=7; must be'),
        (SubnetNSGA2, dict(survival=dict(type='eavit_mm.No')), 'eavit_mm.No'),
        (RandomSearch, dict(pop_size=0), 'pop_size=0; must be'),
        (RandomSearch, dict(sampler=STANDARD), 'sampler'),
    ],
)
def test_wrong_options(kind, options, words):
    with pytest.raises((ValueError, TypeError, KeyError), match=words):
        kind(**options)


def test_the_order_of_objectives_does_not_matter():
    """Bins divide the cost, wherever it stands."""
    found = [
        Search(SPACES['free'], names).run(ALGORITHMS['ours'](), 3, 60)
        for names in (['metric', 'macs'], ['macs', 'metric'])
    ]
    assert found[0] == found[1]


def test_a_search_begins_with_a_front_that_is_given(tmp_path):
    search = Search(SPACES['free'])
    members = search.run(RandomSearch(10), 3, 30)
    front = build_front(search.objectives, members, 5)
    path = str(tmp_path / 'pareto.json')
    front.write(path)
    given = [member.subnet for member in front.members]
    assert 2 < len(given) <= 18
    begins = [
        member.subnet
        for member in search_again(SubnetNSGA2(20, start=path), SPACES['free'])
    ]
    assert set(given) < set(begins)
    plain = search_again(SubnetNSGA2(20), SPACES['free'])
    assert begins[:2] == [member.subnet for member in plain[:2]]
    assert not set(given) <= {member.subnet for member in plain}
    with pytest.raises(ValueError, match='another space'):
        search_again(SubnetNSGA2(20, start=path), SPACES['hydra'])
    with pytest.raises(ValueError, match='start=3'):
        SubnetNSGA2(20, start=3)


def search_again(algorithm, space):
    return Search(space).run(algorithm, 0, 20)
