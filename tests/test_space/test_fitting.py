"""Walks end where budgets are kept, and used."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.fitting import USED, Walker

from .strategies import (
    AXES,
    costs_of,
    members,
    prices,
    spaces_and_members,
)

MINI = SearchSpace(
    list(range(32, 97, 16)),
    list(range(1, 7)),
    list(range(48, 385, 48)),
    num_layers=6,
    head_dims=16,
    max_off=2,
)
SPACES = dict(
    mini=MINI,
    full=SearchSpace.full('vit-t'),
    shared=replace(MINI, max_off=3, shared=['num_heads']),
    never_off=SearchSpace([32, 64, 96], [1, 3, 6], [96, 384], 6, 16),
    tied=SearchSpace([32, 96], [2, 6], [128, 384], 6, 16, ties=[AXES]),
)
# So few choices that a budget may be left unused.
COARSE = ('never_off', 'tied')


@pytest.mark.parametrize('kind', ['macs', 'params'])
@pytest.mark.parametrize('name', SPACES)
def test_budgets_are_kept_and_used(name: str, kind: str) -> None:
    space = SPACES[name]
    cost = costs_of(space)[kind]
    table = CostTable(space, cost)
    walker = Walker(space, {kind: table})
    low, high = table.lowest, table.largest
    rng = np.random.default_rng(1)
    for _ in range(20):
        limit = rng.uniform(low, high)
        subnet = walker.fit(space.sample(rng), {kind: limit})
        space.check(subnet)
        assert cost(subnet) <= limit
        # Steps are coarse where next to nothing is open, or few choices.
        if name not in COARSE and limit > max(3 * low, 0.1 * high):
            assert cost(subnet) > USED * limit


def test_both_of_two_budgets_are_kept() -> None:
    space = SPACES['mini']
    costs = costs_of(space)
    walker = Walker(space, {k: CostTable(space, c) for k, c in costs.items()})
    rng = np.random.default_rng(2)
    for _ in range(20):
        limits = {
            kind: rng.uniform(0.2, 1) * cost(space.largest)
            for kind, cost in costs.items()
        }
        subnet = walker.fit(space.sample(rng), limits)
        used = [costs[k](subnet) / limit for k, limit in limits.items()]
        assert USED < max(used) <= 1
        assert walker.use_of(subnet, limits) == max(used)


def test_the_ends_of_the_range() -> None:
    for space in SPACES.values():
        for kind, cost in costs_of(space).items():
            table = CostTable(space, cost)
            walker = Walker(space, {kind: table})
            low, high = table.lowest, table.largest
            rng = np.random.default_rng(3)
            subnet = space.sample(rng)
            assert walker.fit(subnet, {kind: high}) == space.largest
            assert cost(walker.fit(subnet, {kind: low})) == low
            assert walker.fit(subnet, {kind: low - 1}) is None


def test_what_fits_is_only_widened() -> None:
    space = SPACES['mini']
    cost = costs_of(space)['macs']
    walker = Walker(space, dict(macs=CostTable(space, cost)))
    rng = np.random.default_rng(4)
    for _ in range(20):
        subnet = space.sample(rng)
        wider = walker.fit(subnet, dict(macs=1.1 * cost(subnet)))
        if wider.embed_dims < subnet.embed_dims:
            continue  # Another embedding width used more of the budget.
        for axis, layer in space.branches:
            pair = [getattr(s, axis)[layer] for s in (subnet, wider)]
            assert pair[0] <= pair[1] or wider.embed_dims > subnet.embed_dims


@settings(max_examples=60)
@given(spaces_and_members(), st.data())
def test_costs_need_not_rise_with_the_widths(pair: tuple, data: Any) -> None:
    """What any member keeps is kept, and what none keeps is nobody's."""
    space, start = pair
    cost = data.draw(prices(space, lowest=1))
    table = CostTable(space, cost)
    walker = Walker(space, dict(latency=table))
    dear = walker.reach([start], dict(latency=(table.highest, None)))
    assert cost(dear) == table.highest
    known = sorted({*map(cost, members(space))})
    for limit in (known[0] - 0.5, *data.draw(st.sets(st.sampled_from(known)))):
        found = walker.fit(start, dict(latency=limit))
        if limit < known[0]:
            assert found is None
        else:
            assert space.contains(found)
            assert cost(found) <= limit


@settings(max_examples=60)
@given(spaces_and_members(), st.data())
def test_a_walk_ends_in_a_member(pair: tuple, data: Any) -> None:
    """Inside its ranges, or no nearer to them than where it began."""
    space, start = pair
    costs = {k: data.draw(prices(space, lowest=1)) for k in ('a', 'b')}
    walker = Walker(space, {k: CostTable(space, c) for k, c in costs.items()})
    goal = data.draw(st.sampled_from(sorted(members(space), key=str)))
    ranges = {k: (cost(goal), cost(goal)) for k, cost in costs.items()}
    rng = data.draw(st.sampled_from([None, np.random.default_rng(0)]))

    def missed(subnet: Subnet) -> float:
        return sum(
            abs(cost(subnet) - cost(goal)) / cost(space.largest)
            for cost in costs.values()
        )

    found = walker.reach([start], ranges, rng)
    assert space.contains(found)
    assert missed(found) <= missed(start)
    assert walker.reach([goal], ranges, rng) == goal
    near = walker.approach(start, ranges, rng, switches=False)
    assert near.embed_dims == start.embed_dims
    assert space.decisions(near).off == space.decisions(start).off
    assert missed(near) <= missed(start)
