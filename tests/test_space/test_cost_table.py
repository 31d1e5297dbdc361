"""Costs by parts: exact, as are the ends of their range."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from eavit_mm.space.cost_table import CostTable

from .strategies import members, prices, spaces


@settings(max_examples=80)
@given(spaces(), st.data())
def test_the_ends_are_those_of_all_members(space, data):
    """Of costs that rise with no width, some of them negative."""
    cost = data.draw(prices(space, lowest=-2))
    table = CostTable(space, cost)
    costs = {subnet: cost(subnet) for subnet in members(space)}
    assert {s: table.of_subnet(s) for s in costs} == costs
    off = space.decisions(
        data.draw(st.sampled_from(sorted(costs, key=str)))
    ).off
    rows = np.array([space.decisions(subnet).indices for subnet in costs])
    found = [cost(space.build(row, off)) for row in rows]
    assert table.of_rows(rows, off).tolist() == found
    assert table.largest == costs[space.largest]
    assert table.lowest == costs[table.cheapest] == min(costs.values())
    assert table.highest == max(costs.values())


@settings(max_examples=80)
@given(spaces(), st.data())
def test_of_equals_few_and_deep_branches_are_off(space, data):
    cost = data.draw(prices(space, highest=1))
    cheapest = CostTable(space, cost).cheapest
    order = sorted(space.branches, key=lambda branch: -branch[1])

    def rank(subnet):
        off = space.decisions(subnet).off
        return subnet.embed_dims, len(off), sum(map(order.index, off))

    everyone = members(space)
    least = min(map(cost, everyone))
    equals = [subnet for subnet in everyone if cost(subnet) == least]
    assert rank(cheapest) == min(map(rank, equals))
