"""Costs of gates: the closed forms, and their gradients."""

from itertools import pairwise

import pytest
from toys import classifier, random_case, random_subnet

from eavit_mm.models.budget_solver import cost_of
from eavit_mm.models.gated_cost import GatedCost
from eavit_mm.models.gates import DecisionGates, decision_gates_of
from eavit_mm.space import Subnet
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


@pytest.mark.parametrize('kind', ['macs', 'params'])
@pytest.mark.parametrize('seed', range(10))
def test_gradients_are_what_a_step_costs(seed: int, kind: str) -> None:
    """A gate's is the cost of the next choice or of the branch, exactly."""
    vit = random_case(seed).vit
    space, cost = vit.space, getattr(vit.geometry, kind)
    shares = GatedCost(CostTable(space, cost)).double()
    subnet = random_subnet(space, seed)
    prefixes, switches = decision_gates_of(space, subnet)
    prefixes = tuple(p.double().requires_grad_() for p in prefixes)
    assert switches is not None
    switches = switches.double().requires_grad_()
    shares(DecisionGates(prefixes, switches)).backward()
    indices, off = space.decisions(subnet)

    def step(before: Subnet, after: Subnet) -> float:
        return (cost(after) - cost(before)) / cost(space.largest)

    for number, prefix in enumerate(prefixes):
        ladder = [
            space.build((*indices[:number], i, *indices[number + 1 :]), off)
            for i in range(space.cells[number].num_choices)
        ]
        expected = [step(*pair) for pair in pairwise(ladder)]
        if expected:
            assert prefix.grad.tolist() == pytest.approx(expected, abs=1e-6)
    expected = [
        step(space.build(indices, off | {b}), space.build(indices, off - {b}))
        for b in space.branches
    ]
    assert switches.grad.tolist() == pytest.approx(expected, abs=1e-6)
