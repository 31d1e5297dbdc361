"""Fitted subnets keep their budgets, and use them."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eavit_mm.space import Geometry, SearchSpace, Subnet
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.fitting import USED, Fitter

from .strategies import members, prices, spaces_and_members


def geometry(space: SearchSpace) -> Geometry:
    layers = space.num_layers
    return Geometry(
        num_patches=16,
        num_extra_tokens=1,
        patch_dims=48,
        head_dims=space.head_dims,
        num_layers=layers,
        patch_bias=True,
        stem_norms=0,
        tail_norms=1,
        qkv_bias=(True,) * layers,
        layer_scale=((False, True),) * layers,
        swiglu=(False, True, *[False] * (layers - 2)),
    )


SPACES = dict(
    mini=SearchSpace(
        list(range(32, 97, 16)),
        list(range(1, 7)),
        list(range(48, 385, 48)),
        num_layers=6,
        head_dims=16,
        max_off=2,
    ),
    full=SearchSpace.full('vit-s'),
    never_off=SearchSpace(
        [32, 64, 96], [1, 3, 6], [96, 384], num_layers=6, head_dims=16
    ),
    shared=SearchSpace(
        [32, 48, 64, 80, 96],
        list(range(1, 7)),
        list(range(48, 385, 48)),
        num_layers=6,
        head_dims=16,
        max_off=3,
        shared=['num_heads'],
    ),
)
TIED = SearchSpace(
    [32, 64, 96],
    [2, 4, 6],
    [128, 256, 384],
    num_layers=6,
    head_dims=16,
    ties=[['embed_dims', 'num_heads', 'feedforward_channels']],
)


def costs_of(space: SearchSpace) -> dict:
    shape = geometry(space)
    return dict(macs=shape.macs, params=shape.params)


@pytest.mark.parametrize('kind', ['macs', 'params'])
@pytest.mark.parametrize('name', [*SPACES, 'tied'])
def test_a_table_holds_the_cost(name: str, kind: str) -> None:
    space = {**SPACES, 'tied': TIED}[name]
    cost = costs_of(space)[kind]
    table = CostTable(space, cost)
    assert table.largest == cost(space.largest)
    assert table.lowest == cost(CostTable(space, cost).cheapest)
    rng = np.random.default_rng(0)
    for _ in range(50):
        subnet = space.sample(rng)
        found = table.of(*space.decisions(subnet))
        assert found == cost(subnet)


@pytest.mark.parametrize('kind', ['macs', 'params'])
@pytest.mark.parametrize('name', SPACES)
def test_budgets_are_kept_and_used(name: str, kind: str) -> None:
    space = SPACES[name]
    cost = costs_of(space)[kind]
    fit = Fitter(space, {kind: CostTable(space, cost)})
    low, high = cost(CostTable(space, cost).cheapest), cost(space.largest)
    rng = np.random.default_rng(1)
    for _ in range(40):
        limit = rng.uniform(low, high)
        subnet = fit(space.sample(rng), {kind: limit})
        space.check(subnet)
        assert cost(subnet) <= limit
        # Steps are coarse where next to nothing is open, or few choices.
        if name != 'never_off' and limit > max(3 * low, 0.1 * high):
            assert cost(subnet) > USED * limit


def reachable(space: SearchSpace, cost: Any) -> np.ndarray:
    """All costs of a space whose layers are alike, by counting."""
    found = set()
    layers, (few, many) = space.num_layers, space.choices('num_heads', 0)
    narrow, wide = space.choices('feedforward_channels', 0)
    for embed_dims in space.embed_dims:
        for off in range(space.max_off + 1):
            for heads_off in range(off + 1):
                ffn_off = off - heads_off
                for h in range(layers - heads_off + 1):
                    for f in range(layers - ffn_off + 1):
                        heads = [0] * heads_off + [many] * h + [few] * layers
                        ffn = [0] * ffn_off + [wide] * f + [narrow] * layers
                        subnet = Subnet(
                            embed_dims,
                            tuple(heads[:layers]),
                            tuple(ffn[:layers]),
                            space.head_dims,
                        )
                        found.add(cost(subnet))
    return np.array(sorted(found))


@pytest.mark.parametrize('kind', ['macs', 'params'])
def test_coarse_spaces_are_used_too(kind: str) -> None:
    space = SearchSpace(
        [384, 768],
        [6, 12],
        [1536, 3072],
        num_layers=12,
        head_dims=64,
        max_off=2,
    )
    shape = replace(
        geometry(space),
        layer_scale=((False, False),) * 12,
        swiglu=(False,) * 12,
    )
    cost = getattr(shape, kind)
    costs = reachable(space, cost)
    fit = Fitter(space, {kind: CostTable(space, cost)})
    rng = np.random.default_rng(5)
    for _ in range(60):
        limit = rng.uniform(costs[0], costs[-1])
        most = costs[np.searchsorted(costs, limit, side='right') - 1]
        subnet = fit(space.sample(rng), {kind: limit})
        assert cost(subnet) <= limit
        assert cost(subnet) >= min(USED * limit, most), (limit, most)


def test_both_of_two_budgets_are_kept() -> None:
    space = SPACES['mini']
    costs = costs_of(space)
    fit = Fitter(space, {k: CostTable(space, c) for k, c in costs.items()})
    rng = np.random.default_rng(2)
    for _ in range(30):
        limits = {
            kind: rng.uniform(0.2, 1) * cost(space.largest)
            for kind, cost in costs.items()
        }
        subnet = fit(space.sample(rng), limits)
        used = [costs[k](subnet) / limit for k, limit in limits.items()]
        assert USED < max(used) <= 1


def test_the_ends_of_the_range() -> None:
    for space in (*SPACES.values(), TIED):
        for kind, cost in costs_of(space).items():
            fit = Fitter(space, {kind: CostTable(space, cost)})
            cheapest = CostTable(space, cost).cheapest
            low, high = cost(cheapest), cost(space.largest)
            rng = np.random.default_rng(3)
            for _ in range(5):
                subnet = space.sample(rng)
                assert fit(subnet, {kind: high}) == space.largest
                assert cost(fit(subnet, {kind: low})) == low
                assert fit(subnet, {kind: low - 1}) is None


def test_what_fits_is_only_widened() -> None:
    space = SPACES['mini']
    cost = costs_of(space)['macs']
    fit = Fitter(space, dict(macs=CostTable(space, cost)))
    rng = np.random.default_rng(4)
    for _ in range(20):
        subnet = space.sample(rng)
        limits = dict(macs=1.1 * cost(subnet))
        wider = fit(subnet, limits)
        if wider.embed_dims < subnet.embed_dims:
            continue  # Another embedding width used more of the budget.
        for axis, layer in space.branches:
            pair = [getattr(s, axis)[layer] for s in (subnet, wider)]
            assert pair[0] <= pair[1] or wider.embed_dims > subnet.embed_dims


def check_against_all(
    space: SearchSpace, start: Subnet, costs: dict, limits: dict
) -> None:
    """What any member keeps is kept, and used as far as any uses it."""

    def used(subnet: Subnet) -> float:
        return max(costs[kind](subnet) / limits[kind] for kind in limits)

    tables = {kind: CostTable(space, cost) for kind, cost in costs.items()}
    found = Fitter(space, tables)(start, limits)
    most = max((u for s in members(space) if (u := used(s)) <= 1), default=0)
    if not most:
        assert found is None
        return
    assert space.contains(found)
    assert min(USED, most) <= used(found) <= 1


@settings(max_examples=100)
@given(spaces_and_members(), st.data())
def test_costs_need_not_rise_with_the_widths(pair: tuple, data: Any) -> None:
    space, start = pair
    cost = data.draw(prices(space, lowest=1))
    least = min(map(cost, members(space)))
    limits = st.integers(least - 1, max(map(cost, members(space))))
    for limit in data.draw(st.lists(limits, max_size=5)):
        found = dict(latency=max(limit, 0.5))
        check_against_all(space, start, dict(latency=cost), found)


@settings(max_examples=100)
@given(spaces_and_members(), st.data())
def test_any_two_limits(pair: tuple, data: Any) -> None:
    space, start = pair
    costs = {k: data.draw(prices(space, lowest=1)) for k in ('a', 'b')}
    limits = {
        kind: data.draw(st.sampled_from(sorted({*map(cost, members(space))})))
        for kind, cost in costs.items()
    }
    check_against_all(space, start, costs, limits)


def jagged(space: SearchSpace, rng: np.random.Generator) -> Any:
    """A random cost: many widths cost more than wider ones."""
    times: dict[tuple, int] = defaultdict(lambda: int(rng.integers(1, 1000)))

    def cost(subnet: Subnet) -> int:
        return times[subnet.embed_dims,] + sum(
            times[subnet.embed_dims, axis, width]
            for axis, layer in space.branches
            if (width := getattr(subnet, axis)[layer])
        )

    return cost


@pytest.mark.parametrize('name', SPACES)
def test_the_cheapest_is_found_where_costs_are_jagged(name: str) -> None:
    """From any subnet; single steps down would end elsewhere."""
    space = SPACES[name]
    rng = np.random.default_rng(6)
    cost = jagged(space, rng)
    table = CostTable(space, cost)
    fit = Fitter(space, dict(latency=table))
    for limit in (table.lowest, 1.02 * table.lowest, 1.2 * table.lowest):
        for _ in range(5):
            assert cost(fit(space.sample(rng), dict(latency=limit))) <= limit


@pytest.mark.parametrize('share', [0.2, 0.5, 0.8])
@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('name', SPACES)
def test_two_limits_that_hardly_leave_a_member(
    name: str, seed: int, share: float
) -> None:
    space = SPACES[name]
    rng = np.random.default_rng(seed)
    costs = dict(macs=costs_of(space)['macs'], latency=jagged(space, rng))
    tables = {kind: CostTable(space, cost) for kind, cost in costs.items()}
    scales = dict(
        macs=share / tables['macs'].largest,
        latency=(1 - share) / tables['latency'].largest,
    )
    # No member costs less of both.
    best = CostTable(
        space, lambda s: sum(scales[kind] * costs[kind](s) for kind in costs)
    ).cheapest
    fit = Fitter(space, tables)
    limits = {kind: cost(best) for kind, cost in costs.items()}
    start = space.sample(rng)
    for slack in (1, 1.03):
        found = fit(start, {k: slack * v for k, v in limits.items()})
        for kind, limit in limits.items():
            assert costs[kind](found) <= slack * limit
    assert fit(start, {k: 0.99 * v for k, v in limits.items()}) is None
