"""On a GPU as on the CPU: networks, and every kind of training step."""

import copy
from typing import Any

import pytest
import torch
from test_elastic_ddp import CLASSIFIERS
from test_slim_vit import exported
from torch import Tensor
from torch.utils._pytree import tree_map_only
from toys import (
    assert_same_weights,
    batch_of,
    classifier,
    gates_for,
    images,
    random_case,
    randomise,
    sgd,
    small_stock,
    small_vit,
    snapshot,
)

pytestmark = pytest.mark.gpu
# How far from float64 on the CPU, relative to the whole output.
NEAR = dict(float32=1e-4, bfloat16=0.1, float16=0.02)
# How far from the exported network in the same precision: sliced; and both in
# terms of the rounding, that is of how far the exported is from float64.
SLICED, ROUNDINGS, LEAST_ROUNDING = 3e-2, 2.5, 1e-3


def apart(found: Any, wanted: Any) -> float:
    """The largest relative distance; only open channels count."""
    distances = []
    for a, b in zip(found, wanted, strict=True):
        a = a[tuple(map(slice, b.shape))].float().cpu()
        b = b.float().cpu()
        distances.append(((a - b).norm() / b.norm().clamp(min=1e-2)).item())
    return max(distances)


@pytest.mark.parametrize('dtype', NEAR)
@pytest.mark.parametrize('seed', range(12))
def test_sliced_is_gated_is_exported(
    seed: int, dtype: str, device: str
) -> None:
    case = random_case(seed)
    expected = [out.detach().float() for out in case.dense(case.x)]
    x = case.x.float().to(device)
    vit, net = case.vit.float().to(device), exported(case).float().to(device)
    vit.eval(), net.eval()
    gates = gates_for(vit, case.subnet)
    gates = tree_map_only(Tensor, lambda gate: gate.to(device), gates)
    kind, is_low = getattr(torch, dtype), dtype != 'float32'
    with torch.no_grad(), torch.autocast(device, kind, enabled=is_low):
        with vit.use(case.subnet):
            sliced = vit(x)
        with vit.gated(gates):
            gated = vit(x)
        dense = net(x)
    for outs in (sliced, gated, dense):
        assert all(out.device.type == device for out in outs)
        assert apart(outs, expected) <= NEAR[dtype]
    if is_low:
        rounding = max(apart(dense, expected), LEAST_ROUNDING)
        assert apart(sliced, dense) <= min(SLICED, ROUNDINGS * rounding)
        assert apart(gated, dense) <= ROUNDINGS * rounding


@pytest.mark.parametrize('dtype', NEAR)
def test_the_largest_is_the_stock_network(dtype: str, device: str) -> None:
    stock = randomise(small_stock())
    vit = small_vit()
    vit.load_state_dict(stock.state_dict(), strict=True)
    x = images().to(device)
    kind, is_low = getattr(torch, dtype), dtype != 'float32'
    for network in (stock, vit):
        network.to(device)
        network.eval()
    with torch.no_grad(), torch.autocast(device, kind, enabled=is_low):
        (wanted,), (found,) = stock(x), vit(x)
    assert (found - wanted).norm() <= NEAR[dtype] / 10 * wanted.norm()


@pytest.mark.usefixtures('run_seed')
@pytest.mark.parametrize('name', CLASSIFIERS)
def test_a_step_is_that_of_the_cpu(name: str, device: str) -> None:
    """Samplers, distillation, accumulation and router, in float64."""
    cfg: dict[str, Any] = dict(CLASSIFIERS[name])
    counts = cfg.pop('accumulative_counts', 1)
    there = classifier(**cfg)
    here = copy.deepcopy(there).to(device)
    before = snapshot(there)
    for model in (there, here):
        optimizer = sgd(model, accumulative_counts=counts)
        for number in range(3 * counts):
            model.train_step(batch_of(number), optimizer)
    moved = before['head.fc.weight'] - there.head.fc.weight
    assert moved.abs().max() > 1e-4
    assert_same_weights(here.cpu(), snapshot(there), atol=1e-9)
