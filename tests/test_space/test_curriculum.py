from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eavit_mm.space import Curriculum, Level, SearchSpace

from .strategies import curricula, level_lists, members, spaces

SPACE = SearchSpace([8, 16], [1, 2], [4, 8, 9], 3, 8, max_off=2)
# The last level that reaches SPACE.
REACH = dict(
    embed_dims=8, num_heads=1, feedforward_channels=4, max_off=2, p_off=0.3
)


def box_at(curriculum, progress):
    return curriculum.levels[curriculum.index(progress)].box


@settings(max_examples=25)
@given(curricula())
def test_members_of_a_level_stay_members(curriculum):
    everyone = [members(level.box) for level in curriculum.levels]
    for before, after in pairwise(everyone):
        assert before <= after
    for before, after in pairwise(curriculum.levels):
        assert before.box.largest == after.box.largest
        assert before.p_off <= after.p_off
    last = curriculum.levels[-1]
    assert last.box == last.space
    assert last.p_off or not last.space.max_off


@given(spaces(), st.data())
def test_a_level_keeps_what_it_does_not_name(space, data):
    levels = data.draw(level_lists(space))
    spelt_out, before = [], {}
    for level in levels:
        before = {**before, **level}
        spelt_out.append(before)
    short, long = Curriculum(space, levels), Curriculum(space, spelt_out)
    assert short.levels == long.levels
    assert short.begins == long.begins


@given(curricula(), st.data())
def test_levels_change_exactly_where_they_begin(curriculum, data):
    begins = curriculum.begins
    progress = data.draw(st.integers(0, begins[-1] + 5))
    for now in (progress, *begins, *(begin - 1 for begin in begins[1:])):
        level = sum(begin <= now for begin in begins) - 1
        assert curriculum.index(now) == level


def test_levels_begin_at_shares_of_a_training():
    levels = [dict(begin=0), dict(begin=0.15), dict(begin=0.29, **REACH)]
    assert Curriculum(SPACE, levels, 100).begins == [0, 15, 29]
    assert Curriculum(SPACE, levels, 80000).begins == [0, 12000, 23200]
    with pytest.raises(ValueError, match=r'1 .*begin=0.15 of 2=0; .* least 1'):
        Curriculum(SPACE, levels, 2)
    with pytest.raises(ValueError, match=r'begin=0.15; must be an integer'):
        Curriculum(SPACE, levels)


def test_training_starts_with_the_largest_subnet_alone():
    curriculum = Curriculum(SPACE, [dict(begin=0), dict(begin=3, **REACH)])
    assert members(box_at(curriculum, 0)) == {SPACE.largest}
    assert members(box_at(curriculum, 2)) == {SPACE.largest}
    assert box_at(curriculum, 3) == SPACE
    assert box_at(curriculum, 10**9) == SPACE


# Level


@given(spaces(), st.sampled_from([0.0, 0.1, 1.0]))
def test_a_level_draws_from_the_whole_space_by_default(space, p_off):
    level = Level(space, p_off=p_off)
    assert level.space == space
    assert level.box == (space if p_off else space.restrict(max_off=0))


# Errors


@pytest.mark.parametrize(
    ('levels', 'words'),
    [
        ([dict(embed_dims=8)], r"missing keys \['begin'\]"),
        ([dict(begin=0, embed=8)], r"unknown keys \['embed'\]"),
        ([dict(begin=1)], 'begin=1; must be 0'),
        ([dict(begin=0), dict(begin=True)], 'begin=True; must be an integer'),
        ([dict(begin=0), dict(begin=0)], 'begin=0; must be an integer of at'),
        ([dict(begin=0, embed_dims='8')], "embed_dims='8'; must be an int"),
        ([dict(begin=0), dict(begin=1, p_off=1.1)], r'p_off=1\.1; .*\[0, 1\]'),
        ([dict(begin=0, max_off=3)], 'max_off=3, but the space has max_off=2'),
        (
            [dict(begin=0, embed_dims=17)],
            'embed_dims: .* bound 17 .*16',
        ),
    ],
)
def test_wrong_levels_raise(levels, words):
    place = f'level {len(levels) - 1} of the curriculum'
    with pytest.raises(ValueError, match=f'{place}: .*{words}'):
        Curriculum(SPACE, levels)
    with pytest.raises(ValueError, match='must list at least one level'):
        Curriculum(SPACE, [])


@pytest.mark.parametrize(
    ('key', 'loose', 'tight'),
    [
        ('embed_dims', 8, 16),
        ('num_heads', 1, 2),
        ('feedforward_channels', 4, 5),
        ('max_off', 2, 1),
        ('p_off', 0.3, 0.2),
    ],
)
def test_a_tighter_level_raises(key, loose, tight):
    levels = [{'begin': 0, key: loose}, {'begin': 1}, {'begin': 2, key: tight}]
    with pytest.raises(
        ValueError,
        match='level 2 of the curriculum is tighter than the one before it: '
        f'{key}={tight}, before {loose}',
    ):
        Curriculum(SPACE, levels)


@pytest.mark.parametrize('left_out', sorted(REACH))
def test_a_curriculum_that_does_not_reach_the_space_raises(left_out):
    last = {key: value for key, value in REACH.items() if key != left_out}
    with pytest.raises(
        ValueError,
        match='cannot draw every choice of the space.*Lower its bounds or '
        'narrow the space',
    ) as error:
        Curriculum(SPACE, [dict(begin=0), dict(begin=1, **last)])
    trained, space = str(error.value).split('the space is')
    # The largest subnet's, where nothing lowered it.
    assert ('num_heads >= 2' in trained) == (left_out == 'num_heads')
    assert 'num_heads >= 1' in space
    assert Curriculum(SPACE, [dict(begin=0), dict(begin=1, **REACH)])


@pytest.mark.parametrize('p_off', [-0.1, 1.1, float('nan')])
def test_p_off_of_a_level_is_a_probability(p_off):
    with pytest.raises(ValueError, match=f'p_off={p_off}'):
        Level(SPACE, p_off=p_off)
