"""The router's groups as one, against loops over them."""

from typing import Any

import pytest
import torch
from test_router import routed
from toys import SPACE

from eavit_mm.models.gates import (
    by_decision,
    gates_of,
    group_name,
    harden,
    subnet_of,
    switch_gates,
)
from eavit_mm.models.router_groups import mask_of
from eavit_mm.space.fitting import Walker

LAYERS = dict(
    num_heads=[[1, 6], [2, 6], [6]],
    feedforward_channels=[[7, 12, 20], [20], [1, 5, 9, 20]],
)


SPACES = pytest.mark.parametrize(
    'changes',
    [
        {},
        LAYERS,
        dict(LAYERS, embed_dims=[24], max_off=0),
        dict(shared=['num_heads']),
        dict(ties=[['num_heads', 'embed_dims']]),
    ],
)


@SPACES
def test_gates_are_those_of_each_group_alone(changes: Any) -> None:
    """Each MLP is asked, sorted and made hard by itself, in a loop."""
    kinds, space = ['macs', 'params'], dict(SPACE, **changes)
    router = routed(space=space, hidden=2, budgets=kinds).router
    space, groups = router.space, router.groups
    budgets = [[0.2, 0.3], [0.5, 0.9]]
    shares = torch.tensor(budgets[1]).double()
    masks, on = [], {}
    if space.max_off:
        soft = groups['switches'](shares).sigmoid()
        switches = switch_gates(soft, space.max_off)
        on = dict(zip(space.branches, switches, strict=True))
    for cell in space.cells:
        if cell.num_choices > 1:
            soft = groups[group_name(cell)](shares).sigmoid()
            soft = soft.sort(descending=True).values
            hard = (soft > 0.5).double() + soft - soft.detach()
            (branch, *others) = cell.choices
            masks.append(hard if others else hard * on.get(branch, 1))
    expected = torch.cat([*masks, *(gate[None] for gate in on.values())])
    found = mask_of(space, router(shares))
    weights, factors = [*groups.parameters()], torch.arange(len(found))
    results = [
        (mask, *torch.autograd.grad((mask * factors).sum(), weights))
        for mask in (found, expected)
    ]
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)
    assert router.subnets(budgets) == [router.subnet(b) for b in budgets]


@SPACES
def test_gates_of_units_are_those_of_each_place_alone(changes: Any) -> None:
    router = routed(space=dict(SPACE, **changes)).router
    space, budget = router.space, torch.tensor([0.6]).double()
    noise = torch.Generator().manual_seed(1)
    decisions = router(budget, noise)
    found = gates_of(space, decisions)
    on = {}
    if decisions.switches is not None:
        on = dict(zip(space.branches, decisions.switches, strict=True))
    expected = {}
    for cell, row in zip(space.cells, decisions.prefixes, strict=True):
        for place, choices in cell.choices.items():
            steps = zip(row, choices, choices[1:], strict=False)
            rest = [gate.expand(high - low) for gate, low, high in steps]
            units = torch.cat([row.new_ones(choices[0]), *rest])
            expected[place] = units * on.get(place, 1)
    names = [('embed_dims', 0), *space.branches]
    results = []
    for gates in (
        [found.embed_dims, *found.num_heads, *found.feedforward_channels],
        [expected[name] for name in names],
    ):
        units = torch.cat(gates)
        loss = (units * torch.arange(len(units)).sin()).sum()
        weights = [*router.parameters()]
        grads = torch.autograd.grad(loss, weights, retain_graph=True)
        results.append((units, *grads))
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)


@SPACES
@pytest.mark.parametrize('kinds', [['macs'], ['macs', 'params']])
def test_a_choice_is_the_fullest_of_all_nested_subnets(
    changes: Any, kinds: list[str]
) -> None:
    """Subnets are made and counted one by one, in a loop."""
    router = routed(space=dict(SPACE, **changes), budgets=kinds).router
    space, walker = router.space, Walker(router.space, router.tables)
    router.gated_every, router.passes, router.skew = 10**9, 8, 3.0
    found = []
    for seed in range(8):
        torch.manual_seed(seed)
        for mlp in router.groups.values():
            torch.nn.init.normal_(mlp[-1].bias, std=2.0)
        for route in router.draw([seed], 1):
            soft = router.groups(route.budgets).detach()
            off = space.decisions(subnet_of(space, harden(space, soft))).off
            prefixes = by_decision(space, soft).prefixes
            falling = sorted({0.0, 1.0, *prefixes.flatten().tolist()})[::-1]
            nested = [
                space.build((prefixes > least).sum(-1).tolist(), off)
                for least in falling
            ]
            limits = router.limits(route.budgets.tolist())
            fullest = walker.fullest(nested, limits)
            assert route.subnet == (fullest or nested[0])
            found.append(fullest)
    # Where too few branches are off, none of them keeps some budgets.
    assert (None in found) == bool(space.max_off)
    assert len(set(found)) > 8
