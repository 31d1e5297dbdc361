"""The gated mode against the sliced one and a masked network by hand."""

import copy
from contextlib import nullcontext
from itertools import pairwise

import pytest
import torch
from steps import assert_gradients, gradients
from torch import Tensor
from torch.utils._pytree import tree_map_only
from toys import (
    classifier,
    close,
    dense_twin,
    gates_for,
    images,
    member,
    random_case,
    random_subnet,
)

from eavit_mm.models.elastic_layers import (
    NormSlices,
    gate_norm,
    layer_norm,
    shares_of,
)
from eavit_mm.models.gates import (
    DecisionGates,
    GatedCost,
    decision_gates_of,
    gates_of,
    prefix_gates,
    subnet_of,
    switch_gates,
)
from eavit_mm.space import Subnet
from eavit_mm.space.cost_table import CostTable

SEEDS = range(40)
POOL = dict(type='GlobalAveragePooling')


@pytest.mark.parametrize('seed', SEEDS)
def test_gated_is_dense_and_masked(seed: int) -> None:
    """The subnet's outputs; gradients as if activations were masked."""
    vit, dense, subnet, x, cfg = random_case(seed, batch=seed % 2 * 6 + 1)
    twin = dense_twin(vit, vit.space.largest, cfg)
    found = []
    for network in (vit, twin):
        gates = tree_map_only(Tensor, Tensor.double, gates_for(vit, subnet))
        leaves = [gates.embed_dims, *gates.num_heads]
        leaves += gates.feedforward_channels
        for leaf in leaves:
            leaf.requires_grad_()
        if network is vit:
            with vit.gated(gates):
                outs = vit(x)
        else:
            outs = twin(x, gates)
        sum(out.sin().sum() for out in outs).backward()
        grads = {str(i): leaf.grad for i, leaf in enumerate(leaves)}
        found.append((outs, {**grads, **gradients(network)}))
    close(found[0][0], found[1][0], 1e-9)
    assert_gradients(found[0][1], found[1][1])
    axis, E = 1 if vit.out_type == 'featmap' else -1, subnet.embed_dims
    close([out.narrow(axis, 0, E) for out in found[0][0]], dense(x), 1e-9)
    for out in found[0][0]:
        assert not out.narrow(axis, E, vit.embed_dims - E).any()


def test_gated_in_single_precision_and_under_autocast() -> None:
    for seed in range(12):
        case = random_case(seed)
        vit, x = case.vit.float(), case.x.float()
        gates = gates_for(vit, case.subnet)
        with torch.no_grad():
            with vit.use(case.subnet):
                expected = vit(x)
            with vit.gated(gates):
                outs = vit(x)
                with torch.autocast('cpu', torch.bfloat16):
                    rough = vit(x)
        for out, low, full in zip(outs, rough, expected, strict=True):
            # Zeros stand behind the open channels.
            out, low = (t[tuple(map(slice, full.shape))] for t in (out, low))
            scale = max(1.0, full.abs().max().item())
            close([out], [full], 1e-4 * scale)
            assert (low.float() - full).norm() < 0.1 * full.norm() + 1e-6


def test_logits_and_hooks_of_a_classifier() -> None:
    model = classifier()
    space = model.backbone.space
    seen = []
    model.backbone.layers[1].register_forward_hook(
        lambda module, inputs, output: seen.append(output.detach())
    )
    for seed in range(10):
        subnet = random_subnet(space, seed)
        x = images().double()
        with model.backbone.use(subnet):
            expected = model(x)
        with model.backbone.gated(gates_for(model.backbone, subnet)):
            torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-9)
            # Copies of the model are not gated.
            assert copy.deepcopy(model.backbone).active.slices is None
        sliced, gated = seen[-2:]
        E = subnet.embed_dims
        torch.testing.assert_close(gated[..., :E], sliced, rtol=0, atol=1e-9)


@pytest.mark.parametrize('widths', [24, 14])
@pytest.mark.parametrize('is_gated', [False, True])
def test_features_of_another_width_are_refused(
    widths: int, is_gated: bool
) -> None:
    """A pool over the wrong axis leaves the head one number for a token."""
    model = classifier(backbone=dict(out_type='raw'), neck=POOL)
    vit = model.backbone
    subnet = member(widths)
    gates = gates_for(vit, subnet)
    context = vit.gated(gates) if is_gated else vit.use(subnet)
    with context, pytest.raises(RuntimeError, match='shape|size'):
        model(images().double())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('with_amp', [False, True])
def test_gated_in_half_precision(dtype: torch.dtype, with_amp: bool) -> None:
    model = classifier(backbone=dict(out_type='featmap'), neck=POOL)
    model.float().eval()
    vit = model.backbone
    with torch.no_grad():
        with vit.use(member()):
            expected = model(images())
        x = images()
        if not with_amp:
            model, x = model.to(dtype), x.to(dtype)
        around = torch.autocast('cpu', dtype) if with_amp else nullcontext()
        with vit.gated(gates_for(vit, member())), around:
            out = model(x)
    assert out.dtype == dtype
    assert (out.float() - expected).norm() < 3e-2 * expected.norm()


# Gates


@pytest.mark.parametrize('seed', range(20))
def test_decisions_are_the_subnet(seed: int) -> None:
    space = random_case(seed).vit.space
    subnet = random_subnet(space, seed)
    decisions = decision_gates_of(space, subnet)
    assert subnet_of(space, decisions) == subnet
    gates = gates_of(space, decisions)
    assert gates.subnet == subnet
    assert gates.embed_dims.sum() == subnet.embed_dims
    for axis in ('num_heads', 'feedforward_channels'):
        for values, width in zip(
            getattr(gates, axis), getattr(subnet, axis), strict=True
        ):
            assert values[:width].all()
            assert not values[width:].any()


@pytest.mark.parametrize('max_off', range(5))
def test_gates_are_hard_and_gradients_follow(max_off: int) -> None:
    soft = torch.tensor([0.2, 0.9, 0.4, 0.1], requires_grad=True)
    factors = torch.tensor([1.0, 2.0, 3.0, 4.0])
    # The lowest are off, as many as may be; all in their places.
    gates = switch_gates(soft, max_off)
    order = [3, 0, 2][:max_off]
    assert gates.tolist() == [float(i not in order) for i in range(4)]
    (found,) = torch.autograd.grad((gates * factors).sum(), soft)
    assert torch.equal(found, factors)
    # Open ones first: of 0.9, 0.4, 0.2, 0.1 in this order.
    gates = prefix_gates(soft)
    assert gates.tolist() == [1, 0, 0, 0]
    (found,) = torch.autograd.grad((gates * factors).sum(), soft)
    assert found.tolist() == [3, 1, 2, 4]


# Costs


@pytest.mark.parametrize('kind', ['macs', 'params'])
@pytest.mark.parametrize('seed', range(10))
def test_shares_of_a_cost_and_what_a_step_costs(seed: int, kind: str) -> None:
    """A gate's slope is the cost of the next choice or of the branch."""
    vit = random_case(seed).vit
    space, cost = vit.space, getattr(vit, kind)
    shares = GatedCost(CostTable(space, cost)).double()
    subnet = random_subnet(space, seed)
    prefixes, switches = decision_gates_of(space, subnet)
    prefixes = prefixes.double().requires_grad_()
    assert switches is not None
    switches = switches.double().requires_grad_()
    found = shares(DecisionGates(prefixes, switches))
    share = cost(subnet) / cost(space.largest)
    assert found.item() == pytest.approx(share, abs=1e-6)
    found.backward()
    indices, off = space.decisions(subnet)

    def step(before: Subnet, after: Subnet) -> float:
        return (cost(after) - cost(before)) / cost(space.largest)

    for number, slopes in enumerate(prefixes.grad.tolist()):
        ladder = [
            space.build((*indices[:number], i, *indices[number + 1 :]), off)
            for i in range(space.cells[number].num_choices)
        ]
        expected = [step(*pair) for pair in pairwise(ladder)]
        slopes = slopes[: len(expected)]
        assert slopes == pytest.approx(expected, abs=1e-6)
    expected = [
        step(space.build(indices, off | {b}), space.build(indices, off - {b}))
        for b in space.branches
    ]
    assert switches.grad.tolist() == pytest.approx(expected, abs=1e-6)


def test_a_gated_norm_keeps_one_tensor_of_activations() -> None:
    """As torch's own does: a gated step shall fit where a sliced one does."""
    norm, x = torch.nn.LayerNorm(48), torch.rand(9, 7, 48, requires_grad=True)
    whole = NormSlices(norm.weight, norm.bias)
    gates = torch.ones(48, requires_grad=True)
    kept = set()

    def note(tensor: Tensor) -> Tensor:
        kept.add((tensor.data_ptr(), tensor.numel()))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        layer_norm(norm, gate_norm(whole, gates, shares_of(gates)), x)
    assert sum(numel == x.numel() for _, numel in kept) == 1


def test_a_compiled_gated_norm_has_the_gradients_of_the_eager_one() -> None:
    norm, gates = torch.nn.LayerNorm(8), torch.tensor([1.0] * 5 + [0.0] * 3)
    found = []
    for run in (layer_norm, torch.compile(layer_norm, backend='aot_eager')):
        torch.manual_seed(0)
        x = torch.rand(2, 3, 8, requires_grad=True)
        open_gates = gates.clone().requires_grad_()
        whole = NormSlices(norm.weight, norm.bias)
        run(
            norm, gate_norm(whole, open_gates, shares_of(open_gates)), x
        ).sin().sum().backward()
        found.append((x.grad, open_gates.grad))
    close(*found, 1e-6)
