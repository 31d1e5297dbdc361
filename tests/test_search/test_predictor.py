import numpy as np
import pytest
from scipy.stats import spearmanr

from eavit_mm.search.algorithms import SubnetNSGA2
from eavit_mm.search.predictor import MetricPredictor
from eavit_mm.space.pareto import non_dominated

from .toys import DEEP, SPACES, Search


def some_genomes(number, seed=0):
    rng = np.random.default_rng(seed)
    found = [DEEP.encode(DEEP.sample(rng)) for _ in range(number)]
    return np.array(found)


def test_it_learns_a_monotone_metric():
    x = some_genomes(300)
    values = -((x[:, 0] + x[:, 1:].mean(axis=1)) ** 2)
    predictor = MetricPredictor()
    predictor.learn(x[:200], values[:200])
    foretold = predictor.foretell(x[200:])
    assert foretold.shape == (100,)
    assert spearmanr(foretold, values[200:]).statistic > 0.5
    # Nothing is noted before the truth is known.
    assert predictor.correlations == []
    predictor.learn(x[200:], values[200:])
    expected = spearmanr(foretold, values[200:]).statistic
    assert predictor.correlations == [pytest.approx(expected)]


def test_only_what_was_foretold_is_compared():
    x = np.unique(some_genomes(60), axis=0)
    rng = np.random.default_rng(0)
    values = rng.random(len(x))
    predictor = MetricPredictor(min_evaluations=2)
    predictor.learn(x[:30], values[:30])
    foretold = predictor.foretell(x[30:50])
    # Of the 20 foretold ones six were evaluated, beside four others.
    chosen = [49, 31, 52, 40, 35, 53, 30, 54, 44, 55]
    predictor.learn(x[chosen], values[chosen])
    known = [i for i in chosen if i < 50]
    expected = spearmanr(foretold[np.array(known) - 30], values[known])
    assert predictor.correlations == [pytest.approx(expected.statistic)]
    # Forgotten with the next generation, and two say nothing.
    predictor.learn(x[45:48], values[45:48])
    assert len(predictor.correlations) == 1
    predictor.foretell(x[50:52])
    predictor.learn(x[50:52], values[50:52])
    assert len(predictor.correlations) == 1


@pytest.mark.parametrize('constant', ['values', 'genomes'])
def test_a_constant_generation_has_no_correlation(constant):
    x = np.unique(some_genomes(40), axis=0)
    predictor = MetricPredictor(min_evaluations=2)
    varied = np.arange(30.0)
    predictor.learn(x[:30], varied * 0 if constant == 'genomes' else varied)
    predictor.foretell(x[30:36])
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    predictor.learn(x[30:36], [7.0] * 6 if constant == 'values' else values)
    assert predictor.correlations == []


def test_it_is_ready_with_enough_evaluations():
    predictor = MetricPredictor(min_evaluations=5)
    x = some_genomes(5)
    predictor.learn(x[:4], [1.0, 2.0, 3.0, 4.0])
    assert not predictor.is_ready
    predictor.learn(x[4:], [5.0])
    assert predictor.is_ready


def test_it_is_the_same_every_time():
    x = some_genomes(40)
    found = []
    for _ in range(2):
        predictor = MetricPredictor(num_trees=10)
        predictor.learn(x[:30], np.arange(30.0))
        found.append(predictor.foretell(x[30:]))
    assert (found[0] == found[1]).all()


@pytest.fixture
def searched(monkeypatch):
    """A search with a predictor, and what was foretold in it."""
    algorithm = SubnetNSGA2(
        10,
        predictor=dict(
            type='eavit_mm.MetricPredictor',
            factor=4,
            min_evaluations=20,
            num_trees=20,
        ),
    )
    foretold = []
    predictor = algorithm.predictor
    plain = predictor.foretell

    def watched(genomes):
        values = plain(genomes)
        foretold.append((genomes, values))
        return values

    monkeypatch.setattr(predictor, 'foretell', watched)
    search = Search(DEEP)
    members = search.run(algorithm, 1, 60)
    return search, members, predictor, foretold


def test_what_is_only_foretold_is_no_result(searched):
    search, members, _, foretold = searched
    assert len(members) == 60
    assert search.measured == [m.subnet for m in members]
    assert members == [search.member(m.subnet) for m in members]
    # Four times as many were looked at, once there were enough.
    sizes = [len(genomes) for genomes, _ in foretold]
    assert max(sizes) == 40
    assert len(sizes) in (4, 5)


def test_the_most_promising_are_evaluated(searched):
    search, _, _, foretold = searched
    for genomes, values in foretold:
        subnets = [DEEP.decode(genes) for genes in genomes]
        points = [
            search.objectives.foretold_values(subnet, value)
            for subnet, value in zip(subnets, values, strict=True)
        ]
        measured = {
            i for i, s in enumerate(subnets) if s in search.evaluations.used
        }
        best = set(non_dominated(points))
        # The front of what is foretold, or a part of it.
        assert measured <= best or best <= measured


def test_correlations_of_a_search(searched):
    search, _, predictor, foretold = searched
    assert len(predictor.correlations) == len(foretold)
    known = search.evaluations.used
    for (genomes, values), found in zip(
        foretold, predictor.correlations, strict=True
    ):
        pairs = [
            (value, search.objectives.values(known[subnet])[0])
            for subnet, value in zip(
                map(DEEP.decode, genomes), values, strict=True
            )
            if subnet in known
        ]
        expected = spearmanr(*zip(*pairs, strict=True)).statistic
        assert found == pytest.approx(expected)
    assert np.mean(predictor.correlations) > 0.5


def test_the_most_promising_are_taken():
    space = SPACES['free']
    problem = Search(space).problem
    ladder = list(space.uniform_ladder)
    rng = np.random.default_rng(0)
    others = [space.sample(rng, p_off=0.0) for _ in range(20)]
    x = np.array([space.encode(s) for s in [*others, *ladder]])
    # The ladder is foretold to be far better than anything else.
    foretold = np.array([0.0] * 20 + [-0.9 - 0.01 * i for i in range(4)])
    assert problem.most_promising(x, foretold, 4).tolist() == [20, 21, 22, 23]
    assert len(problem.most_promising(x, foretold, 9)) == 9


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(factor=1), 'factor=1; must be an integer of at least 2'),
        (dict(min_evaluations=1), 'min_evaluations=1; must be'),
        (dict(num_trees=0), 'num_trees=0; must be'),
        (dict(factor=2.0), 'factor=2.0; must be an integer'),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        MetricPredictor(**options)
