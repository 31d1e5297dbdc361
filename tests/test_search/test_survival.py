import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.operators.survival.rank_and_crowding.metrics import (
    calc_crowding_distance,
)
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from eavit_mm.search.survival import (
    EAVIT_QUOTAS,
    PartitionSurvival,
    divide,
    fill_bins,
    thin_out,
)

QUOTAS = st.lists(st.integers(0, 9), min_size=1, max_size=25).filter(sum)


@given(QUOTAS, st.integers(0, 200))
def test_shares_add_up_and_are_rounded(quotas, total):
    found = divide(total, quotas)
    assert sum(found) == total
    for share, quota in zip(found, quotas, strict=True):
        assert abs(share - quota * total / sum(quotas)) < 1


def test_shares():
    # The largest remainder first: 2.5, 2.5 and 5 of ten.
    assert divide(10, [1, 1, 2]) == [3, 2, 5]
    assert divide(4, [0, 3]) == [0, 4]
    assert sum(EAVIT_QUOTAS) == 100
    assert divide(100, EAVIT_QUOTAS) == list(EAVIT_QUOTAS)


@given(st.data())
def test_bins_take_all_it_can_and_no_more(data):
    quotas = data.draw(QUOTAS)
    number = len(quotas)
    available = data.draw(
        st.lists(st.integers(0, 12), min_size=number, max_size=number)
    )
    found = fill_bins(quotas, available)
    assert sum(found) == min(sum(quotas), sum(available))
    for taken, quota, most in zip(found, quotas, available, strict=True):
        assert min(quota, most) <= taken <= most


@pytest.mark.parametrize(
    ('quotas', 'available', 'expected'),
    [
        # The nearest one that has more, the cheaper of two first.
        ([2, 2, 2], [9, 0, 9], [4, 0, 2]),
        ([2, 2, 2], [9, 1, 9], [3, 1, 2]),
        ([2, 2, 2], [3, 0, 9], [3, 0, 3]),
        ([2, 0, 0, 0], [0, 0, 1, 9], [0, 0, 1, 1]),
        ([0, 0, 0, 2], [9, 0, 9, 0], [0, 0, 2, 0]),
    ],
)
def test_what_a_bin_lacks_goes_to_its_neighbours(quotas, available, expected):
    assert fill_bins(quotas, available) == expected


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('dims', [2, 3])
def test_the_most_crowded_goes_first(seed, dims):
    points = np.random.default_rng(seed).random((17, dims))
    left = list(range(17))
    for keep in range(16, 2 * dims - 1, -1):
        worst = np.argmin(calc_crowding_distance(points[left]))
        del left[worst]
        assert thin_out(points, keep) == left
        # The ends of every objective stay.
        assert {*points.argmin(0), *points.argmax(0)} <= set(left)


def test_crowding_of_equal_points():
    points = np.array([[0.0, 1.0], [0.5, 0.5], [0.5, 0.5], [1.0, 0.0]])
    assert set(thin_out(points, 3)) > {0, 3}
    for keep in range(5):
        assert len(thin_out(np.ones((4, 2)), keep)) == keep


class Plain(Problem):
    """A problem that knows its cost and the range of it, and a limit."""

    def __init__(self, cost_range=(0.0, 1.0), limits=0, cost_axis=1):
        super().__init__(n_var=1, n_obj=2, n_ieq_constr=limits)
        self.cost_range, self.cost_axis = cost_range, cost_axis


def population(points, limits=None):
    points = np.asarray(points, dtype=float)
    pop = Population.new(X=np.arange(len(points))[:, None], F=points)
    if limits is not None:
        pop.set('G', np.asarray(limits, dtype=float))
    for individual in pop:
        individual.evaluated = {'F', 'G'}
    return pop


def survivors(points, number, survival, problem=None, limits=None):
    pop = population(points, limits)
    problem = Plain() if problem is None else problem
    found = survival.do(problem, pop, n_survive=number)
    return sorted(int(x) for x in found.get('X')[:, 0])


@pytest.mark.parametrize('seed', range(4))
def test_partition_keeps_its_quotas(seed):
    rng = np.random.default_rng(seed)
    # Few distinct values, so that there are equal points.
    points = rng.random((60, 2)).round(int(rng.integers(1, 4)))
    quotas = rng.integers(0, 5, size=6).tolist() or [1]
    quotas[0] = 1
    survival = PartitionSurvival(quotas, min_gap=0.0)
    place = np.clip((points[:, 1] * 6).astype(int), 0, 5)
    for number in (1, 7, 20, 59, 60):
        kept = survivors(points, number, survival)
        assert len(set(kept)) == len(kept) == number
        asked = divide(number, quotas)
        for i, quota in enumerate(asked):
            inside = np.flatnonzero(place == i)
            taken = sum(place[k] == i for k in kept)
            assert min(quota, len(inside)) <= taken <= len(inside)


@pytest.mark.parametrize('seed', range(4))
def test_the_best_of_a_bin_survive(seed):
    points = np.random.default_rng(seed).random((80, 2))
    _, ranks = NonDominatedSorting().do(points, return_rank=True)
    survival = PartitionSurvival([1, 2, 1, 2], min_gap=0.0)
    kept = set(survivors(points, 30, survival))
    place = (points[:, 1] * 4).astype(int)
    for i in range(4):
        inside = set(np.flatnonzero(place == i).tolist())
        worst = max(ranks[k] for k in inside & kept)
        best_left = min((ranks[k] for k in inside - kept), default=worst)
        assert worst <= best_left


def test_near_neighbours_count_as_one():
    # 1 is a little cheaper than 2 and worse: both are non-dominated.
    points = np.array([[-0.3, 0.9], [-0.1, 0.5], [-0.2, 0.501], [0.1, 0.1]])
    one = PartitionSurvival([1], min_gap=0.01)
    assert survivors(points, 3, one) == [0, 2, 3]
    # Where nothing else is left they are taken.
    assert survivors(points, 4, one) == [0, 1, 2, 3]
    fine = PartitionSurvival([1], min_gap=0.0)
    pop = population(points)
    fine.do(Plain((0, 1)), pop, n_survive=3)
    assert set(pop.get('rank')) == {0}
    pop = population(points)
    one.do(Plain((0, 1)), pop, n_survive=3)
    assert [rank > 0 for rank in pop.get('rank')] == [
        *(False, True, False, False)
    ]


def test_bins_span_what_the_problem_reaches():
    points = [[-x, x] for x in (0.1, 0.2, 0.3, 0.9)]
    halves = PartitionSurvival([1, 1])
    assert survivors(points, 2, halves, Plain((0, 1)))[1] == 3
    # Nothing lies in the upper half of 0..2.
    assert 3 in survivors(points, 2, halves, Plain((0, 2)))
    # All members of a space may cost the same.
    assert survivors([[0.0, 0.5]] * 3, 2, halves, Plain((0.5, 0.5))) != []


def test_those_within_the_limits_come_first():
    points = [[-x, x] for x in (0.1, 0.3, 0.5, 0.7, 0.9)]
    limits = [[1.0], [-1.0], [0.5], [-1.0], [2.0]]
    problem = Plain((0, 1), limits=1)
    survival = PartitionSurvival()
    assert survivors(points, 2, survival, problem, limits) == [1, 3]
    # Then those that break them least.
    assert survivors(points, 3, survival, problem, limits) == [1, 2, 3]
    none = [[1.0], [2.0], [3.0], [4.0], [5.0]]
    assert survivors(points, 2, survival, problem, none) == [0, 1]


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(quotas=[]), r'quotas=\[\]; must not all be 0'),
        (dict(quotas=[0, 0]), 'must not all be 0'),
        (dict(quotas=[1, -1]), 'of at least 0'),
        (dict(quotas=['1']), 'must list numbers'),
        (dict(quotas=20), 'quotas=20; must list numbers'),
        (dict(min_gap=-0.1), 'min_gap=-0.1; must be at least 0'),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        PartitionSurvival(**options)
