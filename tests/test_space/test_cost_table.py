"""Costs by parts: exact, as are the ends of their range."""

from hypothesis import given, settings
from hypothesis import strategies as st

from eavit_mm.space.cost_table import CostTable

from .strategies import members, prices, spaces


@settings(max_examples=150)
@given(spaces(), st.data())
def test_the_ends_are_those_of_all_members(space, data):
    """Of costs that rise with no width, some of them negative."""
    cost = data.draw(prices(space, lowest=-2))
    table = CostTable(space, cost)
    costs = {subnet: cost(subnet) for subnet in members(space)}
    assert {s: table.of_subnet(s) for s in costs} == costs
    assert table.largest == costs[space.largest]
    assert table.lowest == costs[table.cheapest] == min(costs.values())
    assert table.highest == max(costs.values())


@settings(max_examples=150)
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


def greedy(space, cost):
    """The cheapest member where costs rise with every width."""
    indices, off = [0] * len(space.cells), []
    while len(off) < space.max_off:
        candidates = [b for b in space.branches if b not in off]
        candidates.sort(key=lambda branch: -branch[1])
        saving = [cost(space.build(indices, [*off, b])) for b in candidates]
        off.append(candidates[saving.index(min(saving))])
    return space.build(indices, off)


@settings(max_examples=100)
@given(spaces(), st.data())
def test_rising_costs_end_at_the_smallest_widths(space, data):
    factor = {b: data.draw(st.integers(1, 2)) for b in space.branches}

    def cost(subnet):
        return subnet.embed_dims * sum(
            price * getattr(subnet, axis)[layer]
            for (axis, layer), price in factor.items()
        )

    assert CostTable(space, cost).cheapest == greedy(space, cost)
