import numpy as np
import pytest

from eavit_mm.search.objectives import Objectives
from eavit_mm.search.problem import SubnetProblem
from eavit_mm.space import SearchSpace
from eavit_mm.space.pareto import Member, hypervolume

from .toys import tables_of

SPACE = SearchSpace([4, 8], [1, 2], [10, 20], 2, 4, max_off=2)


def width(subnet):
    """A cost that is easy to recognise: 1000 times the FFN channels."""
    return 1000 * sum(subnet.feedforward_channels)


def embed(subnet):
    return subnet.embed_dims


def built(space=SPACE, costs=None, **changes):
    costs = dict(macs=width, params=embed) if costs is None else costs
    options = dict(names=('metric', 'macs'), metric='top1')
    return Objectives(space, tables_of(space, costs), **{**options, **changes})


def member(top1=50.0, macs=10_000, params=4):
    return Member(SPACE.largest, dict(top1=top1), macs, params)


def test_values_are_shares_and_less_is_better():
    one = member(75.0, 10_000, 4)
    # The largest has 40,000 and 8.
    assert built().values(one) == [-0.75, 0.25]
    names = ('params', 'metric', 'macs')
    assert built(names=names).values(one) == [0.5, -0.75, 0.25]
    less = built(rule='less', scale=0.1, worst=10.0)
    assert less.values(one) == pytest.approx([7.5, 0.25])
    assert built().quality(one) == 0.75
    assert less.quality(one) == pytest.approx(-7.5)


def test_volumes_after_each_evaluation():
    objectives = built(constraints=dict(macs=(None, 0.5)))
    rng = np.random.default_rng(7)
    members = [
        member(float(rng.uniform(0, 100)), int(rng.integers(1, 40)) * 1000)
        for _ in range(40)
    ]
    found = objectives.volumes(members)
    assert found == [
        pytest.approx(objectives.volume(objectives.allowed(members[:n])))
        for n in range(1, 41)
    ]
    assert len(set(found)) > 3
    assert objectives.volumes([]) == []


def test_the_reference_point():
    assert built().reference == [0.0, 1.0]
    assert built(worst=10.0, names=('macs', 'metric')).reference == [1, -0.1]
    assert built(worst=100.0, rule='less').reference == [1.0, 1.0]


@pytest.mark.parametrize(
    ('names', 'cost'),
    [
        (('metric', 'macs'), 'macs'),
        (('params', 'metric', 'macs'), 'macs'),
        (('metric', 'params'), 'params'),
    ],
)
def test_the_cost_that_bins_divide(names, cost):
    assert built(names=names).cost == cost


def test_violations_are_shares():
    objectives = built(
        constraints=dict(macs=(0.25, 0.5), metric=(60.0, None)),
    )
    assert objectives.violations(member(70.0, 15_000)) == pytest.approx(
        [-0.125, -0.125, -0.1]
    )
    # 5,000 of 40,000 too cheap, 15 of 100 % too bad.
    assert objectives.violations(member(45.0, 5_000)) == pytest.approx(
        [0.125, -0.375, 0.15]
    )
    assert objectives.violations(member(60.0, 20_000))[1:] == [0, 0]
    assert built().violations(member()) == []
    half = built(constraints=dict(macs=(None, 0.5), params=(None, None)))
    for each, number in ((objectives, 3), (built(), 0), (half, 1)):
        problem = SubnetProblem(each, None)
        assert problem.n_ieq_constr == number == len(each.violations(member()))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(names=['metric', 'flops']), r"objectives=\['metric', 'flops'\]"),
        (dict(names='metric'), "objectives='metric'; must be of"),
        (dict(names=[['metric'], 'macs']), 'objectives=.*must be of'),
        (dict(names=['metric']), "must be 'metric' and one cost or more"),
        (dict(names=['macs', 'params']), "must be 'metric' and one cost"),
        (dict(names=['metric', 'macs', 'macs']), 'each once'),
        (dict(names=['metric', 'latency']), 'latency needs a table'),
        (dict(metric=None), 'metric=None; must be a name'),
        (dict(rule='more'), "rule='more'; must be one of"),
        (dict(scale=0), 'metric_scale=0; must be positive'),
        (dict(worst=float('inf')), 'metric_worst=inf; must be a number'),
        # 0 would be the best: no subnet had any hypervolume.
        (dict(worst=None, rule='less'), "metric_worst=None; with rule='less'"),
    ],
)
def test_wrong_options(changes, words):
    with pytest.raises(ValueError, match=words):
        built(**changes)


def test_the_front_is_within_the_limits_and_sorted():
    objectives = built(constraints=dict(macs=(None, 0.75)))
    members = [
        member(90.0, 40_000),
        member(60.0, 20_000),
        member(50.0, 10_000),
        member(70.0, 30_000),
        member(40.0, 15_000),
        member(60.0, 20_000, 8),
    ]
    front = objectives.front(members)
    assert [m.macs for m in front] == [10_000, 20_000, 30_000]
    assert front[1] is members[1]
    assert objectives.front(members[:1]) == []
    points = [[-0.5, 0.25], [-0.6, 0.5], [-0.7, 0.75]]
    assert objectives.volume(front) == pytest.approx(
        hypervolume(points, [0, 1])
    )
    assert objectives.volume(front) == pytest.approx(0.25 * (0.5 + 0.6 + 0.7))
