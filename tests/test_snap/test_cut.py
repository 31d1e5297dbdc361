"""Cuts of scored units at a target, against plain loops."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from toys import small_vit

from eavit_mm.snap.cut import PROTECTED, Cuts
from eavit_mm.snap.evolution import PAIRS
from eavit_mm.space import Subnet
from eavit_mm.space.cells import FFN, HEADS
from eavit_mm.space.cost_table import CostTable

EACH = dict(
    embed_dims=[8, 24],
    num_heads=list(range(1, 7)),
    feedforward_channels=list(range(1, 21)),
)
VIT = small_vit(space=EACH)


def draw_scores(seed: int = 0, ties: bool = False) -> Any:
    rng = np.random.default_rng(seed)
    scores = {}
    for axis, number in ((HEADS, 6), (FFN, 20)):
        for layer in range(3):
            drawn = rng.exponential(rng.uniform(0.3, 3), number)
            drawn = np.ceil(drawn) if ties else drawn
            scores[axis, layer] = torch.from_numpy(np.sort(drawn)[::-1].copy())
    return scores


def cuts_of(scores: Any, vit: Any = VIT, **kwargs: Any) -> Cuts:
    tables = dict(
        macs=CostTable(vit.space, vit.macs),
        params=CostTable(vit.space, vit.params),
    )
    return Cuts(vit.space, scores, tables, **kwargs)


def widths_by_hand(scores: Any, axis: str, share: float) -> tuple[int, ...]:
    """Takes the least of all layers' last units away, one by one."""
    widths = [len(scores[axis, layer]) for layer in range(3)]
    protected = int(PROTECTED[axis] * widths[0])
    for _ in range(int(widths[0] * 3 * share)):
        ends = [
            (width <= protected, float(scores[axis, i][width - 1]), -width, i)
            for i, width in enumerate(widths)
            if width > 1
        ]
        widths[min(ends)[-1]] -= 1
    return tuple(widths)


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize(
    ('ffn', 'heads'), [(0, 0), (0.15, 0.3), (0.65, 0.5), (0.9, 0.8)]
)
def test_heads_and_neurons_are_cut_apart(seed, ffn, heads):
    scores = draw_scores(seed, ties=seed == 3)
    subnet = cuts_of(scores).at_sparsity(ffn, heads)
    assert subnet.embed_dims == 24
    assert subnet.num_heads == widths_by_hand(scores, HEADS, heads)
    assert subnet.feedforward_channels == widths_by_hand(scores, FFN, ffn)
    if (ffn, heads) == (0, 0):
        assert subnet == VIT.space.largest
    assert min(*subnet.num_heads, *subnet.feedforward_channels) > 0


def test_protected_units_fall_last():
    scores = draw_scores()
    scores[FFN, 1] *= 1e-9
    protected = int(20 * PROTECTED[FFN])
    subnet = cuts_of(scores).at_sparsity(0.5, 0)
    assert subnet.feedforward_channels[1] == protected
    # 57 of 60 are not protected, and one of each layer is not cut at all.
    assert cuts_of(scores).at_sparsity(0.95, 0) == VIT.space.nearest(
        Subnet(24, (6, 6, 6), (1, 1, 1), 4)
    )


@pytest.mark.parametrize('share', [0.97, 1.0])
def test_a_branch_is_emptied_only_if_the_space_lets_it_be_off(share):
    scores = draw_scores()
    with pytest.raises(ValueError, match='must be from 0 to 0.95: a branch'):
        cuts_of(scores).at_sparsity(share, 0)
    emptied = small_vit(space=dict(EACH, max_off=3))
    subnet = cuts_of(scores, emptied).at_sparsity(share, 0)
    assert 0 in subnet.feedforward_channels


def test_no_more_branches_are_emptied_than_may_be_off():
    vit = small_vit(space=dict(EACH, feedforward_channels=[10, 20], max_off=2))
    scores, least = draw_scores(), vit.space.largest
    for layer, factor in enumerate((3, 1, 2)):
        scores[FFN, layer] = torch.linspace(2, 1, 20) * factor
    cuts = cuts_of(scores, vit)
    assert cuts.at_sparsity(2.5 / 3, 0) == replace(
        least, feedforward_channels=(10, 0, 0)
    )
    # Three would fall, were it not for max_off.
    with pytest.raises(ValueError, match='to 0.8333: .*max_off=2'):
        cuts.at_sparsity(0.9, 0)


def test_fixed_pairs_are_those_that_the_space_has():
    vit = small_vit(
        space=dict(EACH, num_heads=[6], feedforward_channels=[10, 20])
    )
    cuts = cuts_of(draw_scores(), vit)
    assert (cuts.largest_share(FFN), cuts.largest_share(HEADS)) == (0.5, 0)
    *_, last = cuts.at_sparsities(PAIRS)
    assert last == replace(
        vit.space.largest, feedforward_channels=(10, 10, 10)
    )
    with pytest.raises(ValueError, match='must be from 0 to 0.5: a branch'):
        cuts.at_sparsity(0.65, 0)


def test_the_widths_are_the_spaces():
    vit = small_vit(
        space=dict(EACH, num_heads=[2, 6], feedforward_channels=[4, 12, 20])
    )
    subnet = cuts_of(draw_scores(1), vit).at_sparsity(0.4, 0.3)
    vit.space.check(subnet)
    exact = cuts_of(draw_scores(1)).at_sparsity(0.4, 0.3)
    assert subnet == vit.space.nearest(exact)


def greedy(scores: Any, limit: float, cost: Any) -> tuple[Subnet, list[Any]]:
    """All steps of a width sorted once, taken until the limit is met."""
    subnet, steps = VIT.space.largest, []
    for (axis, layer), values in scores.items():
        saved = cost(subnet) - cost(narrower(subnet, axis, layer))
        rows = 4 if axis == HEADS else 1
        protected = int(PROTECTED[axis] * len(values))
        steps += [
            (place < protected, float(values[place]) * rows / saved, -place)
            + (axis, layer)
            for place in range(1, len(values))
        ]
    taken = []
    for *_, axis, layer in sorted(steps):
        if cost(subnet) <= limit:
            break
        subnet = narrower(subnet, axis, layer)
        taken.append(axis)
    return subnet, taken


def narrower(subnet: Subnet, axis: str, layer: int) -> Subnet:
    values = subnet.to_dict()
    values[axis][layer] -= 1
    return Subnet.from_dict(values)


@pytest.mark.parametrize('kind', ['macs', 'params'])
@pytest.mark.parametrize('share', [0.9, 0.6, 0.35])
def test_units_compete_for_what_they_save(kind, share):
    cost = dict(macs=VIT.macs, params=VIT.params)[kind]
    limit = share * cost(VIT.space.largest)
    scores = draw_scores(2)
    found = cuts_of(scores).within({kind: limit})
    expected, taken = greedy(scores, limit, cost)
    assert found == expected
    assert {*taken} == {HEADS, FFN} or share == 0.9


def test_lower_limits_cut_inside_of_higher_ones():
    cuts, total = cuts_of(draw_scores(3)), VIT.macs()
    found = [cuts.within(dict(macs=s * total)) for s in (0.8, 0.6, 0.4)]
    for wide, narrow in zip(found, found[1:], strict=False):
        for axis in (HEADS, FFN):
            pairs = zip(
                getattr(wide, axis), getattr(narrow, axis), strict=True
            )
            assert all(more >= less for more, less in pairs)
    limits = dict(macs=0.4 * total)
    assert cuts.within(limits, start=found[0]) == found[-1]
    both = dict(macs=0.8 * total, params=0.4 * VIT.params())
    subnet = cuts.within(both)
    assert VIT.macs(subnet) <= both['macs']
    assert VIT.params(subnet) <= both['params']


def test_the_exchange_says_what_heads_are_worth():
    scores, limits = draw_scores(4), dict(macs=0.6 * VIT.macs())
    cheap, dear = (
        cuts_of(scores, exchange=e).within(limits) for e in (1 / 8, 8)
    )
    assert sum(cheap.num_heads) < sum(dear.num_heads)
    assert sum(cheap.feedforward_channels) > sum(dear.feedforward_channels)
    with pytest.raises(ValueError, match='exchange=0'):
        cuts_of(scores, exchange=0)


def test_limits_that_no_cut_keeps_are_an_error():
    limit = VIT.space.smallest
    with pytest.raises(ValueError, match='no cut of the whole embedding'):
        cuts_of(draw_scores()).within(dict(macs=VIT.macs(limit)))


def bumpy(subnet: Subnet) -> float:
    """Milliseconds that odd widths take more of, as on a real device."""
    widths = (*subnet.num_heads, *subnet.feedforward_channels)
    return 10.0 + sum(width + 4 * (width % 2) for width in widths)


def test_a_limit_on_times_is_reached_over_their_bumps():
    tables = dict(latency=CostTable(VIT.space, bumpy))
    cuts = Cuts(VIT.space, draw_scores(), tables)
    lowest = Subnet(24, (2, 2, 2), (2, 2, 2), 4)
    assert cuts.within(dict(latency=bumpy(lowest))) == lowest
    subnet = cuts.within(dict(latency=40))
    assert 30 < bumpy(subnet) <= 40
    with pytest.raises(ValueError, match='no cut .* nearest one has .*22'):
        cuts.within(dict(latency=bumpy(lowest) - 0.1))


@pytest.mark.parametrize('width', ['embed_dims', 'head_dims'])
def test_widths_of_the_whole_network_stay(width):
    choices = dict(embed_dims=[8, 24], head_dims=[2, 4], num_heads=[2, 6])
    vit = small_vit(space=dict(EACH, **choices))
    limits = dict(macs=0.5 * vit.macs())
    subnet = cuts_of(draw_scores(), vit).within(limits)
    assert (subnet.embed_dims, subnet.head_dims) == (24, 4)
    ties = [[width, 'num_heads']]
    vit = small_vit(space=dict(EACH, **choices, ties=ties))
    with pytest.raises(ValueError, match=f'num_heads is tied to {width}'):
        cuts_of(draw_scores(), vit)
