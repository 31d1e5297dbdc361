from itertools import islice

import numpy as np
import pytest
from pymoo.core.population import Population

from eavit_mm.search.algorithms import SubnetNSGA2
from eavit_mm.search.operators import (
    NewGenomes,
    StepMutation,
    build_member,
    draw_members,
    genome_keys,
    spread,
    start_members,
)
from eavit_mm.space import SandwichSampler, StratifiedSampler, UniformSampler
from eavit_mm.space.cost_table import CostTable

from .toys import SPACES, Search

EVERY = pytest.mark.parametrize('name', SPACES)


def random_genes(space, number, seed=0):
    """Genomes within the bounds; many have too many branches off."""
    low, high = space.genome.bounds
    rng = np.random.default_rng(seed)
    return rng.integers(low, high + 1, size=(number, len(low)))


def draws(problem, sampler=None, p_off=0.5):
    sampler = sampler or StratifiedSampler(num=1)
    return draw_members(problem, sampler, p_off, np.random.default_rng(0))


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


@EVERY
def test_every_genome_stands_for_a_member(name):
    space = SPACES[name]
    rng = np.random.default_rng(0)
    offs = []
    for genes in random_genes(space, 200):
        subnet = build_member(space, genes, rng)
        # Equal members have equal genomes, and stay as they are.
        assert build_member(space, space.encode(subnet), rng) == subnet
        off = space.genome.decode(genes).off
        assert subnet.num_off == min(len(off), space.max_off)
        offs.append(len(off))
    # Otherwise this says nothing.
    assert max(offs) > space.max_off or name in ('rigid', 'all_off')


def test_any_branch_is_opened():
    space = SPACES['free']
    genes = np.zeros_like(space.genome.bounds[0])
    rng = np.random.default_rng(0)
    found = {build_member(space, genes, rng) for _ in range(300)}
    # Two of six branches stay off: 15 choices.
    assert len(found) == 15
    assert {subnet.num_off for subnet in found} == {2}


@pytest.mark.parametrize('number', [1, 3, 40])
@EVERY
def test_a_search_starts_from_the_corners(name, number):
    space = SPACES[name]
    search = Search(space)
    subnets = start_members(search.problem, number, draws(search.problem))
    assert len(subnets) == number
    for subnet in subnets:
        space.check(subnet)
    assert subnets[0] == space.largest
    cheapest = CostTable(space, search.costs['macs']).cheapest
    assert number < 2 or cheapest in subnets
    ladder = set(space.uniform_ladder)
    assert len(ladder & set(subnets)) >= min(number - 2, len(ladder))


def test_p_off():
    problem = Search(SPACES['free']).problem
    for p_off, expected in ((0.0, 0), (1.0, 60)):
        drawn = draws(problem, UniformSampler(num=1), p_off)
        off = sum(subnet.num_off > 0 for subnet in islice(drawn, 60))
        assert off == expected


def test_every_draw_of_a_sampler_is_used():
    space = SPACES['free']
    sampler = SandwichSampler(num_others=1)
    found = list(islice(draws(Search(space).problem, sampler), 9))
    assert found[::3] == [space.largest] * 3
    assert found[2::3] == [space.smallest] * 3
    assert len(set(found[1::3])) == 3


def test_every_beginning_is_spread():
    assert spread('abcdefghi', 5) == list('aiecg')
    assert sorted(spread('abcde', 9)) == list('abcde')
    assert spread('abcde', 3) == list('aec')
    assert spread('abcde', 2) == list('ae')
    assert spread('abcde', 1) == spread('a', 2) == ['a']
    assert spread('abcde', 0) == spread('abcde', -1) == []


def test_new_genomes():
    proposed = NewGenomes()
    x = np.array([[0, 1], [1, 0], [0, 1], [2, 2]])
    found = proposed.do(Population.new(X=x)).get('X')
    assert found.tolist() == [[0, 1], [1, 0], [2, 2]]
    # Looking is not proposing.
    assert len(proposed.do(Population.new(X=x))) == 3
    proposed.known.update(
        genome_keys(Population.new(X=np.array([[1.0, 0.0]])))
    )
    found = proposed.do(Population.new(X=x)).get('X')
    assert found.tolist() == [[0, 1], [2, 2]]
    others = Population.new(X=np.array([[2, 2]], dtype=np.int32))
    for same in (x, x.astype(object)):
        found = proposed.do(Population.new(X=same), others).get('X')
        assert found.tolist() == [[0, 1]]


def test_drawn_members_fill_up_a_generation():
    # Nothing is mixed and nothing mutates: mating alone finds nothing new.
    algorithm = SubnetNSGA2(8, crossover_prob=0.0, mutation_prob=0.0)
    members = Search(SPACES['free']).run(algorithm, number=40)
    assert len({m.subnet for m in members}) == 40
