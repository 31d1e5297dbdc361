"""Costs of gates: the closed forms, and their gradients."""

import pytest
import torch
from toys import classifier, random_case, random_subnet

from eavit_mm.models.budget_solver import cost_of
from eavit_mm.models.gated_cost import GatedCost
from eavit_mm.models.gates import DecisionGates, decision_gates_of
from eavit_mm.space.cost_table import CostTable


@pytest.mark.parametrize('kind', ['macs', 'params'])
def test_shares_are_those_of_the_cost(kind: str) -> None:
    model = classifier()
    space, cost = model.backbone.space, cost_of(model, kind)
    shares = GatedCost(CostTable(space, cost))
    for seed in range(40):
        subnet = random_subnet(space, seed)
        expected = cost(subnet) / cost(space.largest)
        found = shares(decision_gates_of(space, subnet)).item()
        assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('seed', range(20))
def test_gradients_are_those_of_the_closed_form(seed: int) -> None:
    """MACs are a product of sums of gates."""
    vit = random_case(seed).vit
    space, geometry = vit.space, vit.geometry
    shares = GatedCost(CostTable(space, geometry.macs)).double()
    subnet = random_subnet(space, seed)
    prefixes, switches = decision_gates_of(space, subnet)
    prefixes = tuple(p.double().requires_grad_() for p in prefixes)
    assert switches is not None
    switches = switches.double().requires_grad_()
    shares(DecisionGates(prefixes, switches)).backward()
    widths = {}
    for cell, prefix in zip(space.cells, prefixes, strict=True):
        ((axis, layer),) = [(a, cell.layers) for a in cell.axes]
        steps = torch.tensor(space.choices(axis, layer[0])).diff()
        first = space.choices(axis, layer[0])[0]
        copy = prefix.detach().clone().requires_grad_()
        widths[axis, layer[0]] = (copy, first + (copy * steps).sum())
    on = switches.detach().clone().requires_grad_()
    layers = range(space.num_layers)
    macs = geometry.macs_of_widths(
        widths['embed_dims', 0][1],
        [widths['num_heads', i][1] * on[i] for i in layers],
        [
            widths['feedforward_channels', i][1] * on[space.num_layers + i]
            for i in layers
        ],
    )
    (macs / geometry.macs(space.largest)).backward()
    torch.testing.assert_close(switches.grad, on.grad, rtol=1e-5, atol=1e-7)
    for cell, prefix in zip(space.cells, prefixes, strict=True):
        if prefix.numel():
            expected = widths[cell.axes[0], cell.layers[0]][0].grad
            torch.testing.assert_close(
                prefix.grad, expected, rtol=1e-5, atol=1e-7
            )
