"""The router's groups as one, against a loop over them."""

from typing import Any

import pytest
import torch
from test_router import routed
from toys import SPACE

from eavit_mm.models.gates import group_name, switch_gates
from eavit_mm.models.router_groups import mask_of

LAYERS = dict(
    num_heads=[[1, 6], [2, 6], [6]],
    feedforward_channels=[[7, 12, 20], [20], [1, 5, 9, 20]],
)


@pytest.mark.parametrize(
    'changes',
    [
        {},
        LAYERS,
        dict(LAYERS, embed_dims=[24], max_off=0),
        dict(shared=['num_heads']),
        dict(ties=[['num_heads', 'embed_dims']]),
    ],
)
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
