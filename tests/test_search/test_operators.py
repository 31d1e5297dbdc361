import numpy as np
import pytest
from pymoo.core.population import Population

from eavit_mm.search.algorithms import SubnetNSGA2
from eavit_mm.search.operators import (
    MemberRepair,
    NewSubnets,
    SamplerSampling,
    StartSampling,
    StepMutation,
    even,
    genomes,
    repaired,
)
from eavit_mm.space import SandwichSampler, StratifiedSampler, UniformSampler
from eavit_mm.space.cost_table import CostTable

from .toys import ONE, SPACES, TINY, Search

EVERY = pytest.mark.parametrize('name', SPACES)


def random_genes(space, number, seed=0):
    """Genomes within the bounds; many have too many branches off."""
    low, high = space.genome.bounds
    rng = np.random.default_rng(seed)
    return rng.integers(low, high + 1, size=(number, len(low)))


def drawn(problem, number, kind=SamplerSampling):
    sampling = kind(StratifiedSampler(num=1), 0.5)
    rng = np.random.default_rng(0)
    return sampling.do(problem, number, random_state=rng).get('X')


@EVERY
@pytest.mark.parametrize('kind', [SamplerSampling, StartSampling])
def test_what_is_drawn_are_members(name, kind):
    space = SPACES[name]
    x = drawn(Search(space).problem, 40, kind)
    assert x.shape == (40, len(space.genome.bounds[0]))
    for row in x.astype(int):
        # Equal members have equal genomes.
        assert (space.encode(space.decode(row)) == row).all()


@EVERY
def test_what_mutates_stays_within_the_bounds(name):
    problem = Search(SPACES[name]).problem
    x = random_genes(SPACES[name], 60)
    low, high = SPACES[name].genome.bounds
    # Another seed than that of the genes, or steps depend on them.
    rng = np.random.default_rng(1)
    for p_reset in (0.0, 0.25, 1.0):
        mutation = StepMutation(1.0, p_reset)
        found = mutation._do(problem, x, random_state=rng)
        assert found.dtype.kind == 'i'
        assert ((low <= found) & (found <= high)).all()
        if not p_reset:
            assert (abs(found - x) <= 1).all()
            assert (found != x).mean() > 0.3
    # Drawn anew: not only neighbours.
    assert (abs(found - x) > 1).any() or (high - low).max() < 2


def test_one_gene_in_the_mean_mutates():
    space = SPACES['free']
    problem = Search(space).problem
    x = np.ones((4000, len(space.genome.bounds[0])), dtype=int)
    rng = np.random.default_rng(0)
    found = StepMutation(None, 0.0)._do(problem, x, random_state=rng)
    assert (found != x).sum(axis=1).mean() == pytest.approx(1, abs=0.1)
    # Never: nothing moves.
    still = StepMutation(0.0, 0.5)._do(problem, x, random_state=rng)
    assert (still == x).all()


@EVERY
def test_repair_makes_members_of_everything(name):
    space = SPACES[name]
    x = random_genes(space, 200)
    rng = np.random.default_rng(0)
    found = MemberRepair()._do(Search(space).problem, x, random_state=rng)
    assert found.shape == x.shape
    offs = []
    for genes, row in zip(x, found, strict=True):
        subnet = space.decode(row)
        assert (space.encode(subnet) == row).all()
        off = space.genome.decode(genes).off
        assert subnet.num_off == min(len(off), space.max_off)
        offs.append(len(off))
    assert min(offs) <= space.max_off
    # Otherwise this says nothing.
    assert max(offs) > space.max_off or name in ('rigid', 'all_off')


@EVERY
def test_repair_leaves_members_as_they_are(name):
    space = SPACES[name]
    rng = np.random.default_rng(1)
    for _ in range(50):
        subnet = space.sample(rng)
        assert repaired(space, space.encode(subnet), rng) == subnet


def test_repair_opens_any_branch():
    space = SPACES['free']
    genes = np.zeros_like(space.genome.bounds[0])
    rng = np.random.default_rng(0)
    found = {repaired(space, genes, rng) for _ in range(300)}
    # Two of six branches stay off: 15 choices.
    assert len(found) == 15
    assert {subnet.num_off for subnet in found} == {2}


@pytest.mark.parametrize('number', [8, 20, 40])
@EVERY
def test_a_search_starts_from_the_corners(name, number):
    space = SPACES[name]
    search = Search(space)
    subnets = [
        space.decode(row)
        for row in drawn(search.problem, number, StartSampling).astype(int)
    ]
    assert len(subnets) == number
    assert space.largest in subnets
    assert CostTable(space, search.costs['macs']).cheapest in subnets
    ladder = set(space.uniform_ladder)
    if number >= len(ladder) + 2:
        assert ladder <= set(subnets)
    else:
        assert len(ladder & set(subnets)) >= number - 2


@pytest.mark.parametrize('number', [1, 2, 3])
def test_a_start_with_few(number):
    space = SPACES['free']
    x = drawn(Search(space).problem, number, StartSampling).astype(int)
    assert len(x) == number
    assert space.decode(x[0]) == space.largest


@pytest.mark.parametrize('kind', [SamplerSampling, StartSampling])
def test_what_is_drawn_keeps_limits_of_cost(kind):
    limits = dict(macs=(0.3, 0.6), params=(None, 0.5))
    search = Search(SPACES['free'], constraints=limits)
    for row in drawn(search.problem, 60, kind).astype(int):
        assert search.objectives.allows_costs(search.space.decode(row))


def test_limits_that_are_hardly_met_do_not_hang():
    search = Search(SPACES['free'], constraints=dict(macs=(1.0, None)))
    assert len(drawn(search.problem, 5)) == 5


def test_p_off():
    space = SPACES['free']
    for p_off, expected in ((0.0, 0), (1.0, 60)):
        rng = np.random.default_rng(0)
        sampling = SamplerSampling(UniformSampler(num=1), p_off)
        pop = sampling.do(Search(space).problem, 60, random_state=rng)
        x = pop.get('X').astype(int)
        off = sum(space.decode(row).num_off > 0 for row in x)
        assert off == expected


def test_every_draw_of_a_sampler_is_used():
    space = SPACES['free']
    problem = Search(space).problem
    sampling = SamplerSampling(SandwichSampler(num_others=1), 0.5)
    rng = np.random.default_rng(0)
    parts = [
        sampling.do(problem, number, random_state=rng).get('X')
        for number in (1, 4, 4)
    ]
    found = [space.decode(x) for x in np.concatenate(parts).astype(int)]
    assert found[::3] == [space.largest] * 3
    assert found[2::3] == [space.smallest] * 3
    assert len(set(found[1::3])) == 3
    # Those of another space are not.
    other = Search(SPACES['rigid']).problem
    sampling.do(problem, 1, random_state=rng)
    (x,) = sampling.do(other, 1, random_state=rng).get('X').astype(int)
    assert SPACES['rigid'].decode(x) == SPACES['rigid'].largest


def test_a_sampling_serves_another_space():
    one = SamplerSampling(UniformSampler(num=1), 0.5)
    rng = np.random.default_rng(0)
    for name in ('free', 'tied', 'free'):
        problem = Search(SPACES[name]).problem
        for row in one.do(problem, 5, random_state=rng).get('X'):
            SPACES[name].decode(row.astype(int))


def test_even():
    assert even('abcde', 9) == list('abcde')
    assert even('abcde', 5) == list('abcde')
    assert even('abcde', 3) == list('ace')
    assert even('abcde', 2) == list('ae')
    assert even('abcde', 1) == ['a']
    assert even('abcde', 0) == even('abcde', -1) == []
    assert even('a', 2) == ['a']


def test_new_subnets():
    proposed = NewSubnets()
    x = np.array([[0, 1], [1, 0], [0, 1], [2, 2]])
    found = proposed.do(Population.new(X=x)).get('X')
    assert found.tolist() == [[0, 1], [1, 0], [2, 2]]
    # Looking is not proposing.
    assert len(proposed.do(Population.new(X=x))) == 3
    proposed.note(np.array([[1.0, 0.0]]))
    found = proposed.do(Population.new(X=x)).get('X')
    assert found.tolist() == [[0, 1], [2, 2]]
    others = Population.new(X=np.array([[2, 2]], dtype=np.int32))
    found = proposed.do(Population.new(X=x), others).get('X')
    assert found.tolist() == [[0, 1]]
    found = proposed.do(Population.new(X=x.astype(object)), others).get('X')
    assert found.tolist() == [[0, 1]]


def test_immigrants_fill_up_a_generation():
    # Nothing is mixed and nothing mutates: mating alone finds nothing new.
    algorithm = SubnetNSGA2(
        8,
        crossover_prob=0.0,
        mutation_prob=0.0,
        sampler=dict(type='eavit_mm.UniformSampler'),
    )
    search = Search(SPACES['free'])
    members = search.run(algorithm, number=40)
    assert len({m.subnet for m in members}) == 40


def test_offspring_come_before_immigrants(monkeypatch):
    algorithm = SubnetNSGA2(8)

    def fail(*args, **kwargs):
        raise AssertionError('an immigrant')

    monkeypatch.setattr(algorithm.mating.immigrants, 'do', fail)
    assert len(Search(SPACES['free']).run(algorithm, number=16)) == 16


@pytest.mark.parametrize('space', [TINY, ONE])
def test_small_spaces(space):
    problem = Search(space).problem
    for kind in (SamplerSampling, StartSampling):
        assert len(drawn(problem, 6, kind)) == 6
    x = genomes(space, [space.largest])
    rng = np.random.default_rng(0)
    found = StepMutation(None, 0.5)._do(problem, x, random_state=rng)
    space.decode(found[0])


@pytest.mark.parametrize('p_reset', [-0.1, 1.1, None, True])
def test_wrong_options(p_reset):
    with pytest.raises(ValueError, match=f'p_reset={p_reset}; must be'):
        StepMutation(0.5, p_reset)
