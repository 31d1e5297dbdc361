from itertools import pairwise

import numpy as np
import pytest

from eavit_mm.registry import TASK_UTILS
from eavit_mm.search.algorithms import RandomSearch, SubnetNSGA2

from .toys import DEEP, ONE, SPACES, TINY, Search

STANDARD = dict(type='eavit_mm.RankAndCrowding')
ALGORITHMS = dict(
    ours=lambda: SubnetNSGA2(10),
    standard=lambda: SubnetNSGA2(10, survival=STANDARD),
    chance=lambda: RandomSearch(10),
)
EVERY = pytest.mark.parametrize('name', ALGORITHMS)


def order(search, name, seed=0, number=40):
    return [m.subnet for m in search.run(ALGORITHMS[name](), seed, number)]


@EVERY
def test_a_search_is_a_function_of_its_seed(name):
    first = order(Search(SPACES['free']), name, seed=3)
    assert order(Search(SPACES['free']), name, seed=3) == first
    assert order(Search(SPACES['free']), name, seed=4) != first


@EVERY
def test_the_global_generator_says_nothing(name):
    state = np.random.get_state()  # noqa: NPY002
    try:
        found = []
        for seed in (1, 2):
            np.random.seed(seed)  # noqa: NPY002
            found.append(order(Search(SPACES['free']), name))
    finally:
        np.random.set_state(state)  # noqa: NPY002
    assert found[0] == found[1]


@pytest.mark.parametrize('done', [0, 1, 7, 10, 23, 39, 40])
@EVERY
def test_a_search_that_was_ended_goes_on(name, done, tmp_path):
    whole = Search(SPACES['free'])
    expected = whole.run(ALGORITHMS[name](), 5, 40)
    path = tmp_path / 'evaluations.jsonl'
    first = Search(SPACES['free'], path=path)
    first.evaluations.start()
    # As after a crash: results of a generation that did not end.
    first.evaluations([m.subnet for m in expected[:done]])
    second = Search(SPACES['free'], path=path)
    assert second.evaluations.resume(second.space) == done
    assert second.run(ALGORITHMS[name](), 5, 40) == expected
    assert second.measured == [m.subnet for m in expected[done:]]


@pytest.mark.parametrize('number', [3, 14, 20, 26])
@EVERY
def test_a_search_with_more_evaluations_goes_on(name, number, tmp_path):
    path = tmp_path / 'evaluations.jsonl'
    first = Search(SPACES['free'], path=path)
    first.evaluations.start()
    # In a generation, or between two.
    before = first.run(ALGORITHMS[name](), 5, number)
    second = Search(SPACES['free'], path=path)
    second.evaluations.resume(second.space)
    after = second.run(ALGORITHMS[name](), 5, 35)
    assert after[:number] == before
    assert second.evaluations.known.keys() == {m.subnet for m in after}
    assert after == Search(SPACES['free']).run(ALGORITHMS[name](), 5, 35)


@pytest.mark.parametrize('number', [1, 2, 3, 9, 10, 11, 37])
@EVERY
def test_as_many_as_asked_for_and_none_twice(name, number):
    search = Search(SPACES['free'])
    found = order(search, name, number=number)
    assert len(found) == len(set(found)) == number
    assert search.measured == found


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
@EVERY
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


@EVERY
def test_limits_of_cost_hold_for_every_evaluation(name):
    limits = dict(macs=(0.2, 0.5), params=(None, 0.6))
    search = Search(SPACES['free'], constraints=limits)
    members = search.run(ALGORITHMS[name](), 0, 60)
    # A cost is known beforehand: nothing outside is evaluated.
    for member in members:
        assert search.objectives.allows_costs(member.subnet)
    assert len(search.objectives.front(members)) > 3


@pytest.mark.parametrize(
    ('name', 'limits'),
    [
        *((name, dict(macs=(0.9, 0.905))) for name in ALGORITHMS),
        ('ours', dict(macs=(0.5, 0.501))),
        ('ours', dict(macs=(0.3, 0.31), params=(None, 0.31))),
        ('chance', dict(macs=(None, 0.02))),
    ],
)
def test_narrow_limits_hold_for_every_evaluation(name, limits):
    search = Search(DEEP, constraints=limits)
    members = search.run(ALGORITHMS[name](), 0, 20)
    assert all(search.objectives.allows_costs(m.subnet) for m in members)
    assert len(members) > 10


def test_a_limit_on_the_metric_holds_on_the_front():
    search = Search(SPACES['free'], constraints=dict(metric=(60, None)))
    members = search.run(SubnetNSGA2(10), 0, 60)
    front = search.objectives.front(members)
    assert len(front) > 2
    assert min(m.metrics['top1'] for m in front) >= 60
    assert min(m.metrics['top1'] for m in members) < 60


@pytest.mark.parametrize('kind', [SubnetNSGA2, RandomSearch])
def test_a_sampler_of_several_feeds_a_search(kind):
    sampler = dict(type='eavit_mm.SandwichSampler')
    search = Search(SPACES['free'])
    found = search.run(kind(10, sampler=sampler), number=35)
    assert len({member.subnet for member in found}) == 35


@EVERY
def test_three_objectives(name):
    names = ('metric', 'macs', 'params')
    search = Search(SPACES['free'], names=names)
    members = search.run(ALGORITHMS[name](), 0, 40)
    assert len(members) == 40
    front = search.objectives.front(members)
    assert 0 < search.objectives.volume(front) < 1
    macs = [m.macs for m in front]
    assert macs == sorted(macs)


def test_the_cost_may_be_params():
    search = Search(SPACES['free'], names=('params', 'metric'))
    survival = dict(type='eavit_mm.PartitionSurvival', axis=0)
    members = search.run(SubnetNSGA2(10, survival=survival), 0, 40)
    assert len(members) == 40


@pytest.mark.parametrize('name', ['ours', 'standard', 'chance'])
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


def test_generations_are_counted():
    told = []
    Search(SPACES['free']).run(
        RandomSearch(10), number=25, after_generation=told.append
    )
    assert told == [1, 2, 3]


@pytest.mark.parametrize('name', ['ours', 'standard'])
def test_a_search_finds_better_fronts_than_chance(name):
    """By more than the seeds differ, over the space of a ViT."""
    options = dict(
        ours={},
        standard=dict(survival=STANDARD),
    )
    volumes = {'search': [], 'chance': []}
    for seed in range(5):
        for kind, algorithm in [
            ('search', SubnetNSGA2(20, **options[name])),
            ('chance', RandomSearch(20)),
        ]:
            search = Search(DEEP)
            members = search.run(algorithm, seed, 160)
            volumes[kind].append(search.volume(members))
    assert min(volumes['search']) > max(volumes['chance']), volumes
    spread = max(map(np.std, volumes.values()))
    gain = np.mean(volumes['search']) - np.mean(volumes['chance'])
    assert gain > 2 * spread, volumes


def test_partitions_cover_the_range():
    search = Search(DEEP)
    algorithm = SubnetNSGA2(20)
    search.run(algorithm, 0, 160)
    shares = np.sort(algorithm.pop.get('F')[:, 1])
    assert len(shares) == 20
    assert max(b - a for a, b in pairwise(shares)) < 0.2
    assert shares[0] < 0.15
    assert shares[-1] > 0.85


def test_algorithms_of_a_config():
    for cfg in (
        dict(type='eavit_mm.NSGA2', pop_size=4, survival=STANDARD),
        dict(type='eavit_mm.RandomSearch', pop_size=1),
        dict(
            type='eavit_mm.NSGA2',
            sampler=dict(type='eavit_mm.UniformSampler'),
        ),
    ):
        algorithm = TASK_UTILS.build(cfg)
        assert len(Search(SPACES['free']).run(algorithm, number=9)) == 9


@pytest.mark.parametrize(
    ('kind', 'options', 'words'),
    [
        (SubnetNSGA2, dict(pop_size=3), 'pop_size=3; must be an integer of'),
        (SubnetNSGA2, dict(pop_size=4.0), 'pop_size=4.0; must be an integer'),
        (SubnetNSGA2, dict(crossover_prob=2), 'crossover_prob=2; must be'),
        (SubnetNSGA2, dict(mutation_prob=-1), 'mutation_prob=-1; must be'),
        (SubnetNSGA2, dict(p_reset='a'), "p_reset='a'; must be"),
        (SubnetNSGA2, dict(p_off=7), 'p_off=7; must be'),
        (SubnetNSGA2, dict(survival=dict(type='eavit_mm.No')), 'eavit_mm.No'),
        (
            SubnetNSGA2,
            dict(survival=dict(type='eavit_mm.UniformSampler')),
            'survival',
        ),
        (RandomSearch, dict(pop_size=0), 'pop_size=0; must be'),
        (RandomSearch, dict(sampler=STANDARD), 'sampler'),
        (RandomSearch, dict(p_off=-0.5), 'p_off=-0.5; must be'),
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
