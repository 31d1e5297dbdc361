from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eavit_mm.registry import TASK_UTILS
from eavit_mm.space import (
    FixedListSampler,
    LadderSampler,
    Level,
    MixedSampler,
    SandwichSampler,
    SearchSpace,
    SharedSampler,
    StableSampler,
    StratifiedSampler,
    UniformSampler,
)
from eavit_mm.space.cost_table import CostTable

from .strategies import AXES, BRANCHES, curricula, plain_geometry, spaces

VIT_B_BOX = SearchSpace(
    list(range(384, 769, 64)),
    list(range(6, 13)),
    list(range(384, 3073, 384)),
    12,
    64,
    max_off=2,
)
VIT_MINI = SearchSpace(
    [48, 64, 80, 96], list(range(1, 7)), list(range(48, 385, 48)), 6, 16, 2
)
VIT_B_GEOMETRY = plain_geometry(12, 64, 196, 768, 1)
VIT_MINI_GEOMETRY = plain_geometry(6, 16, 16, 49)
SAMPLERS = {
    'largest': dict(type='LargestSampler'),
    'uniform': dict(type='UniformSampler', num=2),
    'shared': dict(type='SharedSampler', num=2),
    'ladder': dict(type='LadderSampler', num=2),
    'ladder_0': dict(type='LadderSampler', p_jitter=0.0),
    'ladder_3': dict(type='LadderSampler', p_jitter=1.0, jitter=3),
    'mixed': dict(
        type='MixedSampler',
        samplers=[
            dict(type='eavit_mm.SharedSampler'),
            dict(type='eavit_mm.LadderSampler', num=2),
        ],
    ),
    'stratified': dict(type='StratifiedSampler', num=2),
    'stratified_3': dict(type='StratifiedSampler', jitter=3),
    'list': dict(
        type='FixedListSampler',
        subnets=[0.25, 0.5, 'smallest', 'largest'],
        num=2,
    ),
    'whole_list': dict(
        type='FixedListSampler', subnets=[0.0, 0.5, 1.0], num=None
    ),
    'sandwich': dict(type='SandwichSampler'),
    'stable': dict(type='StableSampler'),
    'bread': dict(type='SandwichSampler', num_others=0),
    'sandwich_of_pairs': dict(
        type='SandwichSampler',
        num_others=3,
        others=dict(type='eavit_mm.StratifiedSampler', num=2),
    ),
}


def rng(*seed):
    return np.random.default_rng(seed)


def make(name):
    cfg = SAMPLERS[name]
    return TASK_UTILS.build({**cfg, 'type': f'eavit_mm.{cfg["type"]}'})


def draws(sampler, number):
    """Draws of a sampler from VIT_MINI with no branch off."""
    level, cost = Level(VIT_MINI, p_off=0.0), VIT_MINI_GEOMETRY.macs
    return [tuple(sampler.draw(level, cost, rng(i))) for i in range(number)]


def cost_of(space):
    return plain_geometry(space.num_layers, space.head_dims, 5, 3).macs


# All of them


@pytest.mark.parametrize('name', SAMPLERS)
@settings(max_examples=15)
@given(curriculum=curricula(), seed=st.integers(0, 2**32))
def test_draws_are_functions_of_their_arguments_and_in_the_box(
    name, curriculum, seed
):
    used = make(name)
    # Every level twice: what a sampler keeps of one must not leak.
    for number, level in enumerate(curriculum.levels * 2):
        cost = cost_of(level.space)
        once = used.draw(level, cost, rng(seed, number))
        assert once
        assert all(map(level.box.contains, once))
        assert all(map(level.space.contains, once))
        assert make(name).draw(level, cost, rng(seed, number)) == once


@pytest.mark.parametrize(
    'kind', [UniformSampler, SharedSampler, LadderSampler, StratifiedSampler]
)
def test_branches_are_off_as_often_as_the_level_says(kind):
    sampler, cost = kind(), cost_of(VIT_MINI)
    for p_off in (0.0, 0.3, 1.0):
        level = Level(VIT_MINI, p_off=p_off)
        drawn = [
            sampler.draw(level, cost, rng(i))[0].num_off for i in range(200)
        ]
        share = np.mean(np.array(drawn) > 0)
        assert max(drawn) <= 2
        if kind is StratifiedSampler:
            # A costly target opens branches again.
            assert share <= p_off + 0.07
            assert bool(share) == bool(p_off)
        else:
            assert share == pytest.approx(p_off, abs=0.07)


LARGEST = dict(type='eavit_mm.LargestSampler')


@pytest.mark.parametrize(
    ('kind', 'options', 'words'),
    [
        (UniformSampler, dict(num=0), 'num=0; must be an integer of at le'),
        (LadderSampler, dict(p_jitter=1.1), r'p_jitter=1\.1; .* in \[0, 1\]'),
        (StratifiedSampler, dict(jitter=-1), 'jitter=-1; must be an integer'),
        (SandwichSampler, dict(num_others=-1), 'num_others=-1; must be an'),
        (MixedSampler, dict(samplers=[]), r'samplers=\[\]; must list at lea'),
        (MixedSampler, dict(samplers=[dict(num=1)]), r"rs\[0\]=.*a 'type'"),
        (
            MixedSampler,
            dict(samplers=[LARGEST], weights=[0.5, 0.5]),
            r'weights=\[0.5, 0.5\]; must be 1 positive .* per sampler',
        ),
        (FixedListSampler, dict(subnets=[]), r'subnets=\[\]; must list at l'),
        (FixedListSampler, dict(subnets=[1.0], num=0), 'num=0; must be an i'),
        (
            FixedListSampler,
            dict(subnets=[0.5, 1.0], weights=[1, float('nan')]),
            r'weights=\[1, nan\]; must be 2 positive numbers, one per subnet',
        ),
    ],
)
def test_options_are_checked(kind, options, words):
    with pytest.raises(ValueError, match=words):
        kind(**options)


def test_a_list_follows_the_level():
    """The same sampler, in levels that allow more and less in turn."""
    sampler, cost = make('whole_list'), VIT_MINI_GEOMETRY.macs
    whole = Level(VIT_MINI)
    wide = SearchSpace([96], [6], [384], 6, 16, 0)
    narrow = Level(VIT_MINI, wide)
    for level in (whole, narrow, whole):
        expected = [VIT_MINI.uniform(s) for s in (0.0, 0.5, 1.0)]
        allowed = [s for s in expected if level.box.contains(s)]
        assert sampler.draw(level, cost, rng(0)) == allowed
    assert len(allowed) == 3


# Shared


@given(spaces(nested=False), st.integers(0, 999))
def test_shared_is_the_same_in_all_layers_save_those_off(space, seed):
    drawn = SharedSampler(4).draw(Level(space), cost_of(space), rng(seed))
    for subnet in drawn:
        for axis in BRANCHES:
            assert len({width for width in getattr(subnet, axis) if width}) < 2


def test_shared_axes_are_uniform_and_independent():
    drawn, columns = draws(SharedSampler(), 3000), []
    for axis in AXES:
        columns.append([subnet.width(axis, 0) for (subnet,) in drawn])
        choices = VIT_MINI.choices(axis)
        shares = [columns[-1].count(choice) / 3000 for choice in choices]
        even = [1 / len(choices)] * len(choices)
        assert shares == pytest.approx(even, abs=0.04)
    assert np.abs(np.corrcoef(columns) - np.eye(3)).max() < 0.08


# Ladder


@pytest.mark.parametrize('p_jitter', [0.0, 0.4])
def test_ladder_takes_every_uniform_network_equally_often(p_jitter):
    drawn = draws(LadderSampler(p_jitter=p_jitter), 1500)
    rungs = VIT_MINI.uniform_ladder
    shares = [drawn.count((rung,)) / 1500 for rung in rungs]
    # A moved draw is almost never uniform: 13 cells stay with 1/3 each.
    expected = (1 - p_jitter) / len(rungs)
    assert shares == pytest.approx([expected] * len(rungs), abs=0.016)
    assert sum(shares) == pytest.approx(1 - p_jitter, abs=0.03)


@pytest.mark.parametrize('jitter', [0, 1, 2])
def test_ladder_moves_cells_by_no_more_than_the_jitter(jitter):
    rungs = np.array(
        [VIT_MINI.decisions(s).indices for s in VIT_MINI.uniform_ladder]
    )
    moved = set()
    for (subnet,) in draws(LadderSampler(p_jitter=1.0, jitter=jitter), 300):
        moves = np.array(VIT_MINI.decisions(subnet).indices) - rungs
        nearest = moves[np.abs(moves).max(axis=1).argmin()]
        assert np.abs(nearest).max() <= jitter
        moved |= set(nearest.tolist())
    assert moved == set(range(-jitter, jitter + 1))


# Mixed


def test_mixed_takes_each_sampler_as_often_as_its_weight_says():
    parts = [
        dict(type='eavit_mm.LargestSampler'),
        dict(type='eavit_mm.FixedListSampler', subnets=[0.2]),
        dict(type='eavit_mm.FixedListSampler', subnets=[0.5, 0.7], num=None),
    ]
    drawn = draws(MixedSampler(parts, weights=[1, 2, 5]), 800)
    for specs, weight in (([1.0], 1), ([0.2], 2), ([0.5, 0.7], 5)):
        share = drawn.count(tuple(map(VIT_MINI.uniform, specs))) / 800
        assert share == pytest.approx(weight / 8, abs=0.04)


# Stratified


def deciles(space, geometry, p_off, number):
    """Shares of the tenths of the MACs range of the box, and the costs."""
    level = Level(space, p_off=p_off)
    sampler, cost = StratifiedSampler(), geometry.macs
    stream = rng(0)
    costs = np.array(
        [cost(sampler.draw(level, cost, stream)[0]) for _ in range(number)]
    )
    low, high = (
        cost(CostTable(level.box, cost).cheapest),
        cost(level.box.largest),
    )
    return np.histogram(costs, 10, (low, high))[0] / number


@pytest.mark.parametrize(
    ('space', 'p_off'),
    [
        pytest.param(VIT_B_BOX, 0.5, id='vit_b_box'),
        pytest.param(VIT_MINI, 0.3, id='vit_mini'),
        pytest.param(replace(VIT_MINI, max_off=12), 0.3, id='all_may_be_off'),
        pytest.param(
            replace(VIT_MINI, shared=BRANCHES, max_off=0), 0.3, id='shared'
        ),
        pytest.param(
            replace(
                VIT_MINI,
                num_heads=[1, 2, 4, 6],
                feedforward_channels=[64, 128, 256, 384],
                ties=[BRANCHES],
            ),
            0.3,
            id='tied',
        ),
        # Members there are: E = 16 ends at .17 of the range, E = 96 begins
        # at .12.
        pytest.param(
            replace(VIT_MINI, embed_dims=[16, 96], max_off=0), 0.0, id='far'
        ),
        # A level of a curriculum.
        pytest.param(VIT_MINI.restrict(64, 2, 96, max_off=1), 0.3, id='level'),
    ],
)
def test_stratified_gives_every_tenth_of_the_macs_its_share(space, p_off):
    geometry = VIT_MINI_GEOMETRY if space.num_layers == 6 else VIT_B_GEOMETRY
    shares = deciles(space, geometry, p_off, 300)
    assert shares.sum() == pytest.approx(1)
    assert shares.min() >= 0.05, shares


def test_stratified_follows_a_change_of_cost():
    def costlier(subnet):
        return 1000 * VIT_MINI_GEOMETRY.macs(subnet)

    level, used = Level(VIT_MINI), StratifiedSampler(5)
    used.draw(level, VIT_MINI_GEOMETRY.macs, rng(0))
    fresh = StratifiedSampler(5).draw(level, costlier, rng(1))
    assert used.draw(level, costlier, rng(1)) == fresh


def test_stratified_reaches_the_dearest_where_that_is_not_the_largest():
    space = replace(VIT_MINI, max_off=0)

    def cost(subnet):  # 5 heads cost more than 6
        heads = sum(20 * (h == 5) + h for h in subnet.num_heads)
        return heads + sum(subnet.feedforward_channels) / 384

    drawn = StratifiedSampler(150).draw(Level(space, p_off=0.0), cost, rng(0))
    above = np.mean([cost(subnet) > cost(space.largest) for subnet in drawn])
    assert above > 0.1


def test_jitter_makes_layers_differ():
    (drawn,) = draws(StratifiedSampler(50), 1)
    assert np.mean([len(set(s.num_heads)) > 1 for s in drawn]) > 0.8


# Fixed list

LEVELS = [
    Level(VIT_MINI, VIT_MINI.restrict(96, 6, 384), p_off=0.0),
    Level(VIT_MINI, VIT_MINI.restrict(64, 3, 192), p_off=0.0),
    Level(VIT_MINI),
]


def test_fixed_list_leaves_out_what_the_level_does_not_allow():
    specs = ['smallest', 0.0, 0.6, 'largest', VIT_MINI.uniform(0.8).to_dict()]
    sampler = FixedListSampler(specs, num=None)
    cost = VIT_MINI_GEOMETRY.macs
    subnets = [VIT_MINI.resolve(spec) for spec in specs]
    expected = [subnets[3:4], subnets[2:], subnets]
    for level, allowed in zip(LEVELS, expected, strict=True):
        assert sampler.draw(level, cost, rng(0)) == allowed
    drawn = FixedListSampler([0.0, 'smallest']).draw(LEVELS[0], cost, rng(0))
    assert drawn == [VIT_MINI.largest]


def test_fixed_list_follows_its_weights_and_adds_those_of_equals():
    specs, weights = [0.0, 0.5, 1.0, 'largest'], [1, 2, 3, 2]
    ((*whole,),) = draws(FixedListSampler(specs, None, weights), 1)
    assert len(whole) == 3
    drawn = draws(FixedListSampler(specs, weights=weights), 800)
    for s, share in ((0.0, 1 / 8), (0.5, 2 / 8), (1.0, 5 / 8)):
        found = drawn.count((VIT_MINI.uniform(s),)) / 800
        assert found == pytest.approx(share, abs=0.04)


def test_fixed_list_draws_different_members():
    specs = [0.0, 0.25, 0.5, 0.75, 1.0]
    whole = tuple(map(VIT_MINI.uniform, specs))
    drawn = draws(FixedListSampler(specs, num=3), 50)
    assert all(len(set(members)) == 3 for members in drawn)
    assert set().union(*drawn) == set(whole)
    assert draws(FixedListSampler(specs, num=9), 1) == [whole]


# Sandwich


@given(curricula(), st.integers(0, 4), st.integers(0, 999))
def test_sandwich_is_largest_others_smallest(curriculum, number, seed):
    # Two at a time, of which the last may be one too many.
    pairs = dict(type='eavit_mm.UniformSampler', num=2)
    sampler = SandwichSampler(number, pairs)
    for level in curriculum.levels:
        cost = cost_of(level.space)
        first, *others, last = sampler.draw(level, cost, rng(seed))
        assert first == level.box.largest
        assert last == level.box.smallest
        drawn = UniformSampler(number + 1).draw(level, cost, rng(seed))
        assert others == drawn[:number]


# Stable


@pytest.mark.parametrize('number', [1, 2, 3, 4, 7, 13, 25])
def test_stable_draws_one_of_each_half(number):
    """Scala's X widths from a quarter to all, of a head of 96 channels."""
    widths = [96 - 72 * i // max(number - 1, 1) for i in range(number)]
    space, seen = SearchSpace(widths, [6], [8], 2, 96), [set(), set()]
    for i in range(40 * number):
        drawn = StableSampler().draw(Level(space), sum, rng(i))
        found = [subnet.embed_dims for subnet in drawn]
        assert found == sorted(set(found), reverse=True)
        assert len(found) == min(number, 4)
        assert (found[0], found[-1]) == (widths[0], widths[-1])
        for width in found[1:-1]:
            seen[width <= 60].add(width)
    between = set(widths[1:-1])
    assert seen == [
        {w for w in between if w > 60},
        {w for w in between if w <= 60},
    ]
