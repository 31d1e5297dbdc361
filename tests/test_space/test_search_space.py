import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eavit_mm.space import SearchSpace, Subnet

from .strategies import (
    AXES,
    BRANCHES,
    is_member,
    members,
    product_of_widths,
    spaces,
    spaces_and_members,
)

FIELDS = dict(
    embed_dims=[8, 16],
    num_heads=[1, 2],
    feedforward_channels=[4, 8, 9],
    num_layers=3,
    head_dims=8,
)


def build(**changes):
    return SearchSpace(**{**FIELDS, **changes})


def rng(seed=0):
    return np.random.default_rng(seed)


# Members


@pytest.mark.parametrize(
    ('arch', 'heads', 'layers'),
    [('vit-t', 3, 12), ('vit-s', 6, 12), ('vit-b', 12, 12), ('vit-l', 16, 24)],
)
def test_full_space_spans_from_one_head_to_the_stock_vit(arch, heads, layers):
    space, embed_dims = SearchSpace.full(arch), 64 * heads
    assert space.largest == Subnet(
        embed_dims, (heads,) * layers, (4 * embed_dims,) * layers, 64
    )
    assert space.smallest == Subnet(64, (0,) * layers, (0,) * layers, 64)
    assert space.size() == heads * (heads + 1) ** layers * 9**layers
    with pytest.raises(ValueError, match="arch='vit-x'; must be one of"):
        SearchSpace.full('vit-x')


@settings(max_examples=40)
@given(spaces(), st.integers(1, 40))
def test_size_and_contains_are_those_of_brute_force(space, width):
    assert space.size() == len(members(space))
    extra = [width] if space.num_layers < 3 else []
    for subnet in product_of_widths(space, extra):
        assert space.contains(subnet) == is_member(space, subnet)


def test_samples_are_uniform_over_choices_and_reach_max_off():
    space = build(max_off=4)
    drawn = [space.sample(rng(seed), 0.4) for seed in range(2000)]
    embeds = [member.embed_dims for member in drawn]
    assert np.mean(np.array(embeds) == 8) == pytest.approx(0.5, abs=0.05)
    ffns = [c for m in drawn for c in m.feedforward_channels if c]
    for choice in FIELDS['feedforward_channels']:
        assert np.mean(np.array(ffns) == choice) == pytest.approx(
            1 / 3, abs=0.05
        )
    off = np.array([member.num_off for member in drawn])
    assert np.mean(off == 0) == pytest.approx(0.6, abs=0.05)
    for number in (1, 2, 3, 4):
        assert np.mean(off == number) == pytest.approx(0.1, abs=0.03)
    heads_off = np.array([[h == 0 for h in m.num_heads] for m in drawn])
    # 40 % of the draws have 2.5 of 6 branches off on average.
    assert heads_off.mean(0) == pytest.approx([1 / 6] * 3, abs=0.03)


@settings(max_examples=40)
@given(spaces())
def test_largest_and_smallest_are_the_extremes(space):
    everyone = members(space)
    assert {space.largest, space.smallest} <= everyone

    def weights(subnet):
        heads = 4 * subnet.head_dims * sum(subnet.num_heads)
        ffn = 2 * sum(subnet.feedforward_channels)
        return subnet.embed_dims * (heads + ffn)

    assert space.largest.num_off == 0
    assert weights(space.largest) == max(map(weights, everyone))
    assert weights(space.smallest) == min(map(weights, everyone))
    assert space.smallest.num_off == space.max_off


def test_smallest_closes_the_heaviest_branches_and_the_deepest_first():
    # An FFN of 4 has 2 * 4, attention with 1 head 4 * 8 weights per channel.
    assert build(max_off=2).smallest == Subnet(8, (1, 0, 0), (4, 4, 4), 8)
    # Equally heavy: 2 * 16 per channel.
    even = build(feedforward_channels=[16, 20, 24], max_off=3).smallest
    widths = zip(even.num_heads, even.feedforward_channels, strict=True)
    assert [pair.count(0) for pair in widths] == [0, 1, 2]


# uniform(s)


def nearest_choice(choices, s):
    """Slow and exact: the larger of two equally near."""
    target = s * max(choices)
    best = None
    for choice in sorted(choices):
        if best is None or abs(choice - target) <= abs(best - target):
            best = choice
    return best


@given(spaces(), st.integers(0, 1024))
def test_uniform_of_a_cell_follows_its_first_axis_and_layer(space, step):
    s = Fraction(step, 1024)
    subnet = space.uniform(float(s))
    assert space.contains(subnet)
    assert subnet.num_off == 0
    for cell in space.cells:
        axis, layer = cell.axes[0], cell.layers[0]
        width = getattr(subnet, axis)
        width = width if axis == 'embed_dims' else width[layer]
        assert width == nearest_choice(space.choices(axis, layer), s)


@given(spaces())
def test_uniform_ladder_lists_every_uniform_network(space):
    # The nearest choice changes half way between two of them alone.
    places = [('embed_dims', 0), *space.branches]
    lists = [space.choices(*place) for place in places]
    changes = {
        Fraction(sum(pair), 2 * choices[-1])
        for choices in lists
        for pair in pairwise(choices)
    }
    every = dict.fromkeys(map(space.uniform, sorted({Fraction(0), *changes})))
    assert space.uniform_ladder == tuple(every)
    assert space.uniform_ladder[-1] == space.largest


def test_uniform_reads_a_float_as_it_was_written():
    # 7 of 10, although the float 0.7 is a little less.
    assert SearchSpace([4, 10], [1], [1], 1, 8).uniform(0.7).embed_dims == 10


# nearest


@settings(max_examples=50)
@given(spaces_and_members(), st.data())
def test_nearest_is_a_member_and_no_choice_is_nearer(case, data):
    space, member = case
    assert space.nearest(member) == member
    layers, width = space.num_layers, st.just(0) | st.integers(1, 20)
    heads, channels = (
        data.draw(st.lists(width, min_size=layers, max_size=layers))
        for _ in BRANCHES
    )
    far = Subnet(data.draw(st.integers(1, 40)), heads, channels, 3)
    found = space.nearest(far)
    assert space.contains(found)
    for cell in space.cells:
        distances = [
            sum(
                abs(choices[index] - width) / choices[-1]
                for place, choices in cell.choices.items()
                if (width := far.width(*place))
            )
            for index in range(cell.num_choices)
        ]
        for index in cell.open_indices(found):
            assert distances[index] == pytest.approx(min(distances))
    off = {b for b in space.branches if not far.width(*b)}
    closed = {b for b in space.branches if not found.width(*b)}
    assert len(closed) == min(len(off), space.max_off)
    assert closed <= off
    opened = [layer for _, layer in off - closed]
    assert max(opened, default=0) <= min((i for _, i in closed), default=9)
    with pytest.raises(ValueError, match='9 layers, this space'):
        space.nearest(Subnet(8, (1,) * 9, (4,) * 9, 8))


# restrict


@settings(max_examples=60)
@given(spaces(), st.data())
def test_restrict_keeps_the_members_that_reach_the_bounds(space, data):
    bounds = {
        axis: data.draw(
            st.integers(
                0,
                max(
                    space.largest.width(axis, i)
                    for i in range(space.num_layers)
                ),
            )
        )
        for axis in AXES
    }
    max_off = data.draw(st.integers(0, 2 * space.num_layers))
    places = [('embed_dims', 0), *space.branches]

    def reaches(member):
        return all(
            width >= min(bounds[axis], space.choices(axis, layer)[-1])
            for axis, layer in places
            if (width := member.width(axis, layer))
        )

    box = space.restrict(**bounds, max_off=max_off)
    kept = members(box)
    reaching = filter(reaches, members(space))
    expected = {m for m in reaching if m.num_off <= max_off}
    assert kept <= expected
    unequal = any(len(set(getattr(space, axis))) > 1 for axis in BRANCHES)
    if space.ties or (space.shared and unequal):
        # What is off still lifts what shares its index.
        expected = {m for m in expected if not m.num_off}
        kept = {m for m in kept if not m.num_off}
    assert kept == expected
    assert box.largest == space.largest
    assert (box.shared, box.ties) == (space.shared, space.ties)
    assert space.restrict() == space.restrict(max_off=99) == space


@pytest.mark.parametrize(
    ('bounds', 'words'),
    [
        (dict(embed_dims=17), 'embed_dims: the lower bound 17 .* is 16'),
        (dict(num_heads=3), 'num_heads: the lower bound 3 leaves no choice'),
        (dict(feedforward_channels=10), 'channels: the lower bound 10 .* 9'),
        (dict(max_off=-1), 'max_off=-1; must be an integer from 0 to 6'),
    ],
)
def test_impossible_bounds_raise(bounds, words):
    with pytest.raises(ValueError, match=words):
        build().restrict(**bounds)


# resolve and check


@given(spaces_and_members(), st.floats(0, 1))
def test_resolve_reads_all_that_a_config_may_say(case, s):
    space, member = case
    assert space.resolve('largest') == space.largest
    assert space.resolve('smallest') == space.smallest
    assert space.resolve(s) == space.uniform(s)
    assert space.resolve(1) == space.largest
    assert space.resolve(member) == member
    assert space.resolve(member.to_dict()) == member
    if space.max_off == 2 * space.num_layers > 2:
        half = dict(widths=s, depth=0.5)
        assert space.resolve(half) == space.uniform(s).at_depth(0.5)


@pytest.mark.parametrize(
    ('spec', 'words'),
    [
        ('half', "subnet='half'; must be 'largest', 'smallest', a number in"),
        (None, "subnet=None; must be 'largest', 'smallest', a number"),
        (True, "subnet=True; must be 'largest', 'smallest', a number"),
        (1.5, r's=1\.5; must lie in \[0, 1\]'),
        (float('nan'), r's=nan; must lie in \[0, 1\]'),
        ({}, 'missing keys .*embed_dims'),
        (Subnet(8, (1, 3, 1), (4, 4, 4), 8), 'layer 1: num_heads=3 is outs'),
    ],
)
def test_resolve_says_what_is_wrong(spec, words):
    with pytest.raises(ValueError, match=words):
        build().resolve(spec)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(head_dims=4), r'head_dims=4 is outside this space \(8\)'),
        (
            dict(side='suffix'),
            "='suffix', in this .*embed_dims=8 has 'prefix'",
        ),
        (dict(embed_dims=12), r'embed_dims=12 is outside .* \(8, 16\)'),
        (
            dict(feedforward_channels=(4, 4, 7)),
            'layer 2: feedforward_channels=7 is outside .*4, 8, 9',
        ),
        (dict(num_heads=(0, 0, 1)), '2 branches are off, max_off=1'),
        (dict(num_heads=(1, 1, 2)), r"\['num_heads'\] must share one .*, 2\]"),
        (
            dict(num_heads=(1,), feedforward_channels=(4,)),
            'the subnet has 1 layers, this space 3',
        ),
    ],
)
def test_check_names_what_does_not_fit_and_asks(changes, words):
    space = build(max_off=1, shared=['num_heads'])
    subnet = replace(Subnet(8, (1, 1, 1), (4, 4, 4), 8), **changes)
    with pytest.raises(ValueError, match=f'{words}.*another supernet'):
        space.check(subnet)


# Configs and construction


@given(spaces())
def test_config_round_trip(space):
    config = space.to_config()
    assert SearchSpace(**json.loads(json.dumps(config))) == space
    # The network gives what is left.
    network = {key: config.pop(key) for key in ('num_layers', 'head_dims')}
    config['type'] = 'SearchSpace'
    again = SearchSpace.from_config(config, **network)
    assert again == space
    assert hash(again) == hash(space)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(heads=[1]), r"unknown keys \['heads'\], missing keys \[\]"),
        (dict(num_layers=4), 'num_layers=4, but the network has num_layers=3'),
        (dict(head_dims=9), 'head_dims=9, but the network has head_dims=8'),
    ],
)
def test_from_config_refuses(changes, words):
    config = {**FIELDS, **changes}
    with pytest.raises(ValueError, match=f'space: .*{words}'):
        SearchSpace.from_config(config, num_layers=3, head_dims=8)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(embed_dims=[]), r'embed_dims=\[\]; must be a list of diff'),
        (dict(embed_dims=16), 'embed_dims=16; must be a list of different'),
        (dict(embed_dims=[8, 8]), r'embed_dims=\[8, 8\]; must be a list'),
        (dict(num_heads=[0, 1]), r'=\[0, 1\]; .* positive integers .*max_off'),
        (dict(num_heads=[True, 2]), 'different positive integers'),
        (dict(num_heads=[[1], [2]]), 'for 2 layers, the network has 3'),
        (dict(num_heads=[[1], 2, [3]]), 'layer 1: num_heads=2; must be a lis'),
        (dict(num_layers=0), 'num_layers=0; must be an integer of at least 1'),
        (dict(head_dims=8.0), r'head_dims=8\.0; must be an integer of at'),
        (dict(max_off=7), 'max_off=7; must be an integer from 0 to 6 .*3 la'),
        (dict(shared=['embed_dims']), r"shared=.*; must be .*\['num_heads'"),
        (dict(ties=[['num_heads', 'depth']]), "ties=.*'depth'.*; must be"),
        (dict(ties=[['num_heads']]), 'ties=.* groups, each of two or more'),
        (dict(ties=[AXES, AXES]), 'an axis in one group only'),
        (
            dict(num_heads=[[1], [1, 2], [1]], shared=['num_heads']),
            r"\['num_heads'\] share .* \[0, 1, 2\], .*choices: \[1, 2\]",
        ),
    ],
)
def test_construction_refuses(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)


def test_the_order_of_choices_and_groups_does_not_matter():
    mixed = build(embed_dims=[16, 8], feedforward_channels=(9, 4, 8))
    assert mixed == build()
    both = ['num_heads', 'feedforward_channels']
    assert build(shared=both) == build(shared=both[::-1])
