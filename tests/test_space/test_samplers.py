import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eavit_mm.registry import TASK_UTILS
from eavit_mm.space import (
    Curriculum,
    FixedListSampler,
    LadderSampler,
    LargestSampler,
    Level,
    MixedSampler,
    SandwichSampler,
    SearchSpace,
    SharedSampler,
    StratifiedSampler,
    UniformSampler,
)
from eavit_mm.space.cost_table import CostTable

from .strategies import BRANCHES, curricula, plain_geometry, spaces

VIT_B_BOX = SearchSpace(
    list(range(384, 769, 64)),
    list(range(6, 13)),
    list(range(384, 3073, 384)),
    12,
    64,
    max_off=2,
)
VIT_B = SearchSpace.full('vit-b')
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
    'stratified_0': dict(type='StratifiedSampler', jitter=0),
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


def cost_of(space):
    return plain_geometry(space.num_layers, space.head_dims, 5, 3).macs


# All of them


@pytest.mark.parametrize('name', SAMPLERS)
@settings(max_examples=30)
@given(curriculum=curricula(), seed=st.integers(0, 2**32))
def test_every_draw_lies_in_the_box_of_its_level(name, curriculum, seed):
    sampler = make(name)
    for number, level in enumerate(curriculum.levels):
        cost = cost_of(level.space)
        drawn = sampler.draw(level, cost, rng(seed, number))
        assert drawn
        for subnet in drawn:
            assert level.box.contains(subnet)
            assert level.space.contains(subnet)


@pytest.mark.parametrize('name', SAMPLERS)
@settings(max_examples=15)
@given(curriculum=curricula(), seed=st.integers(0, 2**32))
def test_a_draw_is_a_function_of_its_arguments(name, curriculum, seed):
    used = make(name)
    # Every level twice: what a sampler keeps of one must not leak.
    for number, level in enumerate(curriculum.levels * 2):
        cost = cost_of(level.space)
        once = used.draw(level, cost, rng(seed, number))
        assert make(name).draw(level, cost, rng(seed, number)) == once


@pytest.mark.parametrize(
    'kind', [UniformSampler, SharedSampler, LadderSampler, StratifiedSampler]
)
def test_num_is_the_number_of_subnets_of_a_step(kind):
    cost = VIT_MINI_GEOMETRY.macs
    drawn = kind(5).draw(Level(VIT_MINI), cost, rng(0))
    assert len(drawn) == 5
    assert len(set(drawn)) > 1
    for num in (0, -1):
        with pytest.raises(
            ValueError, match=f'num={num}; must be an integer of at least 1'
        ):
            kind(num)


@pytest.mark.parametrize(
    'kind', [UniformSampler, SharedSampler, LadderSampler, StratifiedSampler]
)
def test_branches_are_off_as_often_as_the_stage_says(kind):
    sampler, cost = kind(), cost_of(VIT_MINI)
    for p_off in (0.0, 0.3, 1.0):
        level = Level(VIT_MINI, p_off=p_off)
        drawn = [
            sampler.draw(level, cost, rng(i))[0].num_off for i in range(400)
        ]
        share = np.mean(np.array(drawn) > 0)
        assert max(drawn) <= 2
        if kind is StratifiedSampler:
            # A costly target opens branches again.
            assert share <= p_off + 0.07
            assert bool(share) == bool(p_off)
        else:
            assert share == pytest.approx(p_off, abs=0.07)


@given(spaces())
def test_largest_sampler(space):
    drawn = LargestSampler().draw(Level(space), cost_of(space), rng(0))
    assert drawn == [space.largest]


# Shared


@given(spaces(nested=False), st.integers(0, 999))
def test_shared_is_the_same_in_all_layers_save_those_off(space, seed):
    drawn = SharedSampler(4).draw(Level(space), cost_of(space), rng(seed))
    for subnet in drawn:
        for axis in BRANCHES:
            assert len({width for width in getattr(subnet, axis) if width}) < 2


def test_shared_axes_are_uniform_and_independent():
    level = Level(VIT_MINI, p_off=0.0)
    sampler, cost = SharedSampler(), VIT_MINI_GEOMETRY.macs
    drawn = [sampler.draw(level, cost, rng(i))[0] for i in range(3000)]
    heads = np.array([s.num_heads[0] for s in drawn])
    ffn = np.array([s.feedforward_channels[0] for s in drawn])
    embed = np.array([s.embed_dims for s in drawn])
    for values, choices in (
        (heads, range(1, 7)),
        (ffn, range(48, 385, 48)),
        (embed, (48, 64, 80, 96)),
    ):
        for choice in choices:
            share = np.mean(values == choice)
            assert share == pytest.approx(1 / len(choices), abs=0.04)
    table = np.corrcoef([heads, ffn, embed])
    assert np.abs(table - np.eye(3)).max() < 0.08


# Ladder


def ladder_draws(p_jitter, number, jitter=1):
    level = Level(VIT_MINI, p_off=0.0)
    sampler = LadderSampler(p_jitter=p_jitter, jitter=jitter)
    cost = VIT_MINI_GEOMETRY.macs
    return [sampler.draw(level, cost, rng(i))[0] for i in range(number)]


@pytest.mark.parametrize('p_jitter', [0.0, 0.4])
def test_ladder_takes_every_uniform_network_equally_often(p_jitter):
    drawn = ladder_draws(p_jitter, 4000)
    rungs = VIT_MINI.uniform_ladder
    shares = [np.mean([s == rung for s in drawn]) for rung in rungs]
    # A moved draw is almost never uniform: 13 cells stay with 1/3 each.
    expected = (1 - p_jitter) / len(rungs)
    assert shares == pytest.approx([expected] * len(rungs), abs=0.015)
    assert sum(shares) == pytest.approx(1 - p_jitter, abs=0.03)


@pytest.mark.parametrize('jitter', [0, 1, 2])
def test_ladder_moves_cells_by_no_more_than_the_jitter(jitter):
    rungs = np.array(
        [VIT_MINI.decisions(s).indices for s in VIT_MINI.uniform_ladder]
    )
    moved = set()
    for subnet in ladder_draws(1.0, 300, jitter):
        moves = np.array(VIT_MINI.decisions(subnet).indices) - rungs
        nearest = moves[np.abs(moves).max(axis=1).argmin()]
        assert np.abs(nearest).max() <= jitter
        moved |= set(nearest.tolist())
    assert moved == set(range(-jitter, jitter + 1))


@pytest.mark.parametrize('value', [-0.1, 1.1, float('nan'), '1', True, None])
def test_ladder_refuses_what_is_no_probability(value):
    with pytest.raises(ValueError, match=r'p_jitter=.*number in \[0, 1\]'):
        LadderSampler(p_jitter=value)


# Mixed


def test_mixed_takes_each_sampler_as_often_as_its_weight_says():
    level, cost = Level(VIT_MINI, p_off=0.0), VIT_MINI_GEOMETRY.macs
    parts = [
        dict(type='eavit_mm.LargestSampler'),
        dict(type='eavit_mm.FixedListSampler', subnets=[0.2]),
        dict(type='eavit_mm.FixedListSampler', subnets=[0.5, 0.7], num=None),
    ]
    sampler = MixedSampler(parts, weights=[1, 2, 5])
    drawn = [tuple(sampler.draw(level, cost, rng(i))) for i in range(4000)]
    shares = [
        np.mean([one == wanted for one in drawn])
        for wanted in (
            (VIT_MINI.largest,),
            (VIT_MINI.uniform(0.2),),
            (VIT_MINI.uniform(0.5), VIT_MINI.uniform(0.7)),
        )
    ]
    assert shares == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.03)


def test_mixed_draws_what_its_parts_draw():
    level, cost = Level(VIT_MINI, p_off=0.3), VIT_MINI_GEOMETRY.macs
    sampler = MixedSampler([dict(type='eavit_mm.SharedSampler', num=2)])
    for i in range(50):
        stream = rng(i)
        stream.choice(1, p=[1.0])  # whose turn it is
        expected = SharedSampler(num=2).draw(level, cost, stream)
        assert sampler.draw(level, cost, rng(i)) == expected


@pytest.mark.parametrize(
    ('samplers', 'weights', 'words'),
    [
        ([], None, r'samplers=\[\]; must list at least one'),
        ('eavit_mm.SharedSampler', None, 'samplers=.*must list'),
        ([dict(num=1)], None, r"samplers\[0\]=.*must be a dict with a 'type'"),
        (
            [dict(type='eavit_mm.LargestSampler')],
            [0.5, 0.5],
            'weights=.*1 pos',
        ),
        ([dict(type='eavit_mm.LargestSampler')], [0], 'weights=.*1 positive'),
    ],
)
def test_mixed_refuses_what_is_no_list_of_samplers(samplers, weights, words):
    with pytest.raises(ValueError, match=words):
        MixedSampler(samplers, weights)


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
    ('space', 'geometry'),
    [
        pytest.param(VIT_B_BOX, VIT_B_GEOMETRY, id='vit_b_box'),
        pytest.param(VIT_B, VIT_B_GEOMETRY, id='vit_b'),
        pytest.param(VIT_MINI, VIT_MINI_GEOMETRY, id='vit_mini'),
    ],
)
@pytest.mark.parametrize(
    ('p_off', 'number'), [(0.0, 1500), (0.3, 1500), (0.5, 4000)]
)
def test_stratified_gives_every_tenth_of_the_macs_its_share(
    space, geometry, p_off, number
):
    shares = deciles(space, geometry, p_off, number)
    assert shares.sum() == pytest.approx(1)
    assert shares.min() >= 0.05, shares


def mini(**changes):
    fields = dict(
        embed_dims=[48, 64, 80, 96],
        num_heads=list(range(1, 7)),
        feedforward_channels=list(range(48, 385, 48)),
        num_layers=6,
        head_dims=16,
        max_off=2,
    )
    return SearchSpace(**{**fields, **changes})


@pytest.mark.parametrize(
    'space',
    [
        pytest.param(mini(embed_dims=[48, 96]), id='two_embeddings'),
        pytest.param(mini(max_off=12), id='all_may_be_off'),
        pytest.param(mini(shared=BRANCHES, max_off=0), id='shared'),
        pytest.param(
            mini(
                num_heads=[1, 2, 4, 6],
                feedforward_channels=[64, 128, 256, 384],
                ties=[BRANCHES],
            ),
            id='tied',
        ),
        pytest.param(
            mini(
                embed_dims=[6, 12, 24, 48, 96],
                num_heads=[1, 2, 4, 6],
                feedforward_channels=[24, 48, 96, 192, 384],
            ),
            id='powers_of_two',
        ),
    ],
)
def test_stratified_covers_odd_spaces(space):
    shares = deciles(space, VIT_MINI_GEOMETRY, 0.3, 1500)
    assert shares.min() >= 0.05, shares


def test_stratified_covers_every_level_of_a_curriculum():
    levels = [
        dict(begin=0),
        dict(begin=1, num_heads=4, feedforward_channels=192),
        dict(begin=2, embed_dims=64, num_heads=2, max_off=1, p_off=0.3),
        dict(
            begin=3,
            embed_dims=48,
            num_heads=1,
            feedforward_channels=48,
            max_off=2,
        ),
    ]
    curriculum = Curriculum(VIT_MINI, levels)
    sampler, cost = StratifiedSampler(), VIT_MINI_GEOMETRY.macs
    for level in curriculum.levels[1:]:
        low, high = (
            cost(CostTable(level.box, cost).cheapest),
            cost(level.box.largest),
        )
        costs = [
            cost(sampler.draw(level, cost, rng(i))[0]) for i in range(600)
        ]
        shares = np.histogram(costs, 10, (low, high))[0] / len(costs)
        assert shares.min() >= 0.05, shares


def test_stratified_covers_the_gap_between_two_far_embeddings():
    space = mini(embed_dims=[16, 96], max_off=0)
    # Members there are: E = 16 ends at .17 of the range, E = 96 begins at .12.
    shares = deciles(space, VIT_MINI_GEOMETRY, 0.0, 1500)
    assert shares.min() >= 0.05, shares


def test_stratified_follows_a_change_of_cost():
    def costlier(subnet):
        return 1000 * VIT_MINI_GEOMETRY.macs(subnet)

    level, used = Level(VIT_MINI), StratifiedSampler(5)
    used.draw(level, VIT_MINI_GEOMETRY.macs, rng(0))
    fresh = StratifiedSampler(5).draw(level, costlier, rng(1))
    assert used.draw(level, costlier, rng(1)) == fresh


def test_stratified_reaches_the_dearest_where_that_is_not_the_largest():
    space = mini(max_off=0)

    def cost(subnet):  # 5 heads cost more than 6
        heads = sum(20 * (h == 5) + h for h in subnet.num_heads)
        return heads + sum(subnet.feedforward_channels) / 384

    drawn = StratifiedSampler(400).draw(Level(space, p_off=0.0), cost, rng(0))
    above = np.mean([cost(subnet) > cost(space.largest) for subnet in drawn])
    assert above > 0.1


def test_uniform_crowds_where_stratified_does_not():
    # Why there is a stratified sampler at all.
    cost, stream = VIT_B_GEOMETRY.macs, rng(0)
    level = Level(VIT_B)
    drawn = UniformSampler(500).draw(level, cost, stream)
    low, high = cost(CostTable(VIT_B, cost).cheapest), cost(VIT_B.largest)
    shares = np.histogram(list(map(cost, drawn)), 10, (low, high))[0] / 500
    assert shares.min() < 0.01


def test_jitter_makes_layers_differ():
    level, cost = Level(VIT_MINI, p_off=0.0), VIT_MINI_GEOMETRY.macs
    drawn = StratifiedSampler(50).draw(level, cost, rng(0))
    assert np.mean([len(set(s.num_heads)) > 1 for s in drawn]) > 0.8


def test_stratified_of_one_member_draws_it():
    only = SearchSpace([8], [1], [4], 2, 8)
    drawn = StratifiedSampler(3).draw(Level(only), cost_of(only), rng(0))
    assert drawn == [only.largest] * 3


def test_negative_jitter_raises():
    with pytest.raises(
        ValueError, match='jitter=-1; must be an integer of at least 0'
    ):
        StratifiedSampler(jitter=-1)


# Fixed list


def curriculum_of_mini():
    return Curriculum(
        VIT_MINI,
        [
            dict(begin=0),
            dict(
                begin=1,
                embed_dims=64,
                num_heads=3,
                feedforward_channels=192,
            ),
            dict(
                begin=2,
                embed_dims=48,
                num_heads=1,
                feedforward_channels=48,
                max_off=2,
                p_off=0.5,
            ),
        ],
    )


def test_fixed_list_leaves_out_what_the_level_does_not_allow():
    specs = ['smallest', 0.0, 0.6, 'largest', VIT_MINI.uniform(0.8).to_dict()]
    sampler = FixedListSampler(specs, num=None)
    cost = VIT_MINI_GEOMETRY.macs
    subnets = [VIT_MINI.resolve(spec) for spec in specs]
    expected = [subnets[3:4], subnets[2:], subnets]
    for level, allowed in zip(
        curriculum_of_mini().levels, expected, strict=True
    ):
        assert sampler.draw(level, cost, rng(0)) == allowed


def test_fixed_list_without_an_allowed_member_trains_the_largest():
    sampler = FixedListSampler([0.0, 'smallest'])
    drawn = sampler.draw(
        curriculum_of_mini().at(0), VIT_MINI_GEOMETRY.macs, rng(0)
    )
    assert drawn == [VIT_MINI.largest]


def test_fixed_list_follows_its_weights():
    sampler = FixedListSampler([0.0, 0.5, 1.0], weights=[1, 2, 5])
    level, cost = Level(VIT_MINI), VIT_MINI_GEOMETRY.macs
    drawn = [sampler.draw(level, cost, rng(i))[0] for i in range(2000)]
    for s, share in ((0.0, 1 / 8), (0.5, 2 / 8), (1.0, 5 / 8)):
        found = np.mean([subnet == VIT_MINI.uniform(s) for subnet in drawn])
        assert found == pytest.approx(share, abs=0.04)


def test_fixed_list_adds_the_weights_of_equals():
    specs = [1.0, 'largest', 0.5]
    level, cost = Level(VIT_MINI), VIT_MINI_GEOMETRY.macs
    assert len(FixedListSampler(specs, None).draw(level, cost, rng(0))) == 2
    sampler = FixedListSampler(specs)
    drawn = [sampler.draw(level, cost, rng(i))[0] for i in range(1000)]
    share = np.mean([subnet == VIT_MINI.largest for subnet in drawn])
    assert share == pytest.approx(2 / 3, abs=0.05)


def test_fixed_list_draws_different_members():
    specs = [0.0, 0.25, 0.5, 0.75, 1.0]
    level, cost = Level(VIT_MINI), VIT_MINI_GEOMETRY.macs
    sampler = FixedListSampler(specs, num=3)
    seen = set()
    for seed in range(50):
        drawn = sampler.draw(level, cost, rng(seed))
        assert len(set(drawn)) == 3
        seen.update(drawn)
    assert seen == {VIT_MINI.uniform(s) for s in specs}
    many = FixedListSampler(specs, num=9).draw(level, cost, rng(0))
    assert many == [VIT_MINI.uniform(s) for s in specs]


@pytest.mark.parametrize(
    ('kwargs', 'words'),
    [
        (dict(subnets=[]), r'subnets=\[\]; must list at least one subnet'),
        (dict(num=0), 'num=0; must be an integer of at least 1'),
        (
            dict(weights=[1.0]),
            r'weights=\[1\.0\]; must be 2 positive numbers, one per subnet',
        ),
        (dict(weights=[]), r'weights=\[\]; must be 2 positive'),
        (dict(weights=[1, 0]), r'weights=\[1, 0\]; must be 2 positive'),
        (dict(weights=[1, -1]), r'weights=\[1, -1\]; must be 2 positive'),
    ],
)
def test_fixed_list_refuses(kwargs, words):
    with pytest.raises(ValueError, match=words):
        FixedListSampler(**{'subnets': [0.5, 1.0], **kwargs})


@pytest.mark.parametrize('weight', [float('nan'), float('inf')])
def test_fixed_list_weights_are_finite(weight):
    with pytest.raises(ValueError, match='must be 2 positive'):
        FixedListSampler([0.5, 1.0], weights=[1.0, weight])


@pytest.mark.parametrize('num', [1.5, '2', True])
def test_num_is_an_integer(num):
    with pytest.raises(ValueError, match='num='):
        UniformSampler(num)


@pytest.mark.parametrize(
    ('spec', 'words'),
    [
        (1.5, r's=1\.5; must lie in'),
        ('huge', "subnet='huge'; must be 'largest'"),
        (SearchSpace([8], [1], [4], 6, 16).largest, 'outside this space'),
    ],
)
def test_fixed_list_refuses_strangers(spec, words):
    sampler = FixedListSampler([spec])
    with pytest.raises(ValueError, match=words):
        sampler.draw(Level(VIT_MINI), VIT_MINI_GEOMETRY.macs, rng(0))


# Sandwich


@given(curricula(), st.integers(0, 4), st.integers(0, 999))
def test_sandwich_is_largest_others_smallest(curriculum, number, seed):
    sampler = SandwichSampler(number)
    for level in curriculum.levels:
        cost = cost_of(level.space)
        first, *others, last = sampler.draw(level, cost, rng(seed))
        assert first == level.box.largest
        assert last == level.box.smallest
        drawn = UniformSampler(max(number, 1)).draw(level, cost, rng(seed))
        assert others == drawn[:number]


def test_sandwich_cuts_the_others_to_their_number():
    config = dict(type='eavit_mm.FixedListSampler', subnets=[0.3, 0.6], num=2)
    level, cost = Level(VIT_MINI), VIT_MINI_GEOMETRY.macs
    drawn = SandwichSampler(3, config).draw(level, cost, rng(0))
    assert len(drawn) == 5
    assert set(drawn[1:4]) == {VIT_MINI.uniform(0.3), VIT_MINI.uniform(0.6)}


def test_negative_number_of_others_raises():
    with pytest.raises(
        ValueError, match='num_others=-1; must be an integer of at least 0'
    ):
        SandwichSampler(-1)
