"""Heads of several widths, and a smallest subnet that is a suffix."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import SCALA as FIELDS

from eavit_mm.space import Curriculum, SearchSpace
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.fitting import Walker

from .strategies import (
    costs_of,
    members,
    scala_spaces,
    spaces_and_members,
)

SCALA = SearchSpace(**FIELDS, num_layers=2)


def test_one_decision_makes_all_widths():
    low, high = SCALA.genome.bounds
    assert (high - low).tolist() == [3, 0, 0]  # no choice of heads
    assert SCALA.size() == len(members(SCALA)) == 4
    subnets = SCALA.uniform_ladder
    assert [s.embed_dims for s in subnets] == [6, 12, 18, 24]
    assert [s.head_dims for s in subnets] == [1, 2, 3, 4]
    assert {s.num_heads for s in subnets} == {(6, 6)}
    listed = {**FIELDS, 'head_dims': range(1, 5)}
    same = SearchSpace.from_config(listed, num_layers=2, head_dims=4)
    assert same == SCALA
    assert [s.side for s in subnets] == ['suffix', *['prefix'] * 3]
    assert SCALA.smallest == SCALA.uniform(0.25) == subnets[0]


@settings(max_examples=40)
@given(scala_spaces(nested=False))
def test_members_are_those_of_the_definition(space):
    everyone = members(space)
    assert space.size() == len(everyone)
    assert all(map(space.contains, everyone))
    sides = {s.side for s in everyone if s.embed_dims == space.embed_dims[0]}
    assert sides == {'suffix' if space.suffix_smallest else 'prefix'}
    assert space.largest.side == 'prefix'


@settings(max_examples=60)
@given(spaces_and_members(of=scala_spaces))
def test_genome_config_and_nearest(case):
    space, member = case
    assert (
        space.decode(space.encode(member)) == space.nearest(member) == member
    )
    assert SearchSpace(**json.loads(json.dumps(space.to_config()))) == space
    wrong = 'prefix' if member.side == 'suffix' else 'suffix'
    with pytest.raises(ValueError, match=f"side='{wrong}', in this space"):
        space.check(replace(member, side=wrong))
    is_free = not any('head_dims' in tie for tie in space.ties)
    assert is_free == any(c.axes == ('head_dims',) for c in space.cells)


@settings(max_examples=30)
@given(scala_spaces(nested=False), st.data())
def test_costs_and_budgets(space, data):
    costs = costs_of(space)
    tables = {kind: CostTable(space, cost) for kind, cost in costs.items()}
    for kind, cost in costs.items():
        table, known = tables[kind], {s: cost(s) for s in members(space)}
        assert {s: table.of_subnet(s) for s in known} == known
        assert {s: table.of(*space.decisions(s)) for s in known} == known
        assert table.lowest == min(known.values())
        assert table.highest == max(known.values())
    low, high = tables['macs'].lowest, tables['macs'].highest
    limit = data.draw(st.floats(low, high))
    found = Walker(space, tables).fit(space.largest, dict(macs=limit))
    assert found is not None
    assert space.contains(found)
    assert costs['macs'](found) <= limit


def test_a_curriculum_opens_the_smaller_widths():
    small = dict(embed_dims=6, head_dims=1, feedforward_channels=5)
    levels = [dict(begin=0), dict(begin=1, **small)]
    first, last = Curriculum(SCALA, levels).levels
    assert first.box.uniform_ladder == (SCALA.largest,)
    assert last.box == SCALA
    del small['head_dims']
    # What is tied follows the strictest bound.
    with pytest.raises(ValueError, match='>= 6, head_dims >= 1, num'):
        Curriculum(SCALA, [dict(begin=0, **small)])
    half = SCALA.restrict(12)
    assert not half.suffix_smallest
    assert {s.side for s in half.uniform_ladder} == {'prefix'}


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(head_dims=[1, 2, 4]), r'but differ in their number of .*3, 4'),
        (dict(head_dims=[1, 2, 2, 4]), 'head_dims=.* different positive'),
        (dict(head_dims=[1, 2, 3, 5]), 'head_dims=.*network has head_dim'),
        (dict(head_dims=0), 'head_dims=0, but the network has head_dims=4'),
        (dict(suffix_smallest=1), 'suffix_smallest=1; must be'),
        (
            dict(embed_dims=[24], ties=None),
            r'suffix_smallest=True, embed_dims=\[24\]; needs a second width',
        ),
    ],
)
def test_refused(changes, words):
    cfg = {**FIELDS, **changes}
    with pytest.raises(ValueError, match=words):
        SearchSpace.from_config(cfg, num_layers=2, head_dims=4)


def test_a_space_of_one_head_width_is_said_as_before():
    space = SearchSpace([8, 16], [1], [4], 2, [8])
    assert space == SearchSpace([8, 16], [1], [4], 2, 8)
    assert 'suffix_smallest' not in space.to_config()
