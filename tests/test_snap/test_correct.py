"""The affine correction against plain regressions and a masked network."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from dense import DenseViT
from torch import Tensor, nn
from toys import (
    Case,
    assert_same_weights,
    gates_for,
    random_case,
    random_subnet,
    snapshot,
)

from benchmarks.export_cases import random_config, random_model
from eavit_mm.export import dense_network
from eavit_mm.snap import correct as correct_module
from eavit_mm.snap.correct import correct, features_error, fit, solve_ridge


def least_squares(
    units: Tensor, target: Tensor, ridge: float, has_bias: bool = True
) -> tuple[Tensor, Tensor]:
    """Ridge regression of rows on rows, its penalty written as more rows."""
    n, U = units.shape
    mean, middle = units.mean(0), target.mean(0)
    if not has_bias:
        mean, middle = mean * 0, middle * 0
    damp = ridge * (units - mean).square().mean()
    more = torch.eye(U, dtype=units.dtype) * (n * damp).sqrt()
    rows = torch.cat([units - mean, more])
    wanted = torch.cat([target - middle, target.new_zeros(U, target.shape[1])])
    weight = torch.linalg.lstsq(rows, wanted, driver='gelsd').solution.T
    return weight, middle - weight @ mean


@pytest.mark.parametrize('seed', range(20))
def test_products_solve_least_squares(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    U, E = (int(n) for n in torch.randint(1, 9, (2,), generator=rng))
    n = U + int(torch.randint(2, 60, (1,), generator=rng))
    mix = torch.randn(U, U, generator=rng, dtype=torch.float64)
    units = torch.randn(n, U, generator=rng, dtype=torch.float64) @ mix + 3
    target = units[:, :1].tanh() + torch.randn(
        n, E, generator=rng, dtype=torch.float64
    )
    ridge, has_bias = (0.01, 1e-4)[seed % 2], seed % 4 > 0
    rows = torch.cat([torch.ones(n, 1).double(), units, target], dim=1)
    weight, bias = solve_ridge(rows.T @ rows, U, ridge, has_bias)
    expected = least_squares(units, target, ridge, has_bias)
    torch.testing.assert_close(weight, expected[0], rtol=0, atol=1e-8)
    if has_bias:
        torch.testing.assert_close(bias, expected[1], rtol=0, atol=1e-8)
        error = target - units @ weight.T - bias
        assert error.square().sum() <= target.square().sum()
    else:
        assert bias is None


class Watched(DenseViT):
    """Keeps the units and then the stream of each branch, in order."""

    seen: list[Tensor]

    def see(self, place: tuple[str, int], x: Tensor) -> Tensor:
        if place[0] != 'norm':
            self.seen.append(x.detach())
        return x


WIDTHS = ('num_heads', 'feedforward_channels')
OUT = {'num_heads': ('attn.proj',), WIDTHS[1]: ('ffn.layers.1', 'ffn.w3')}


def corrected_slowly(case: Case, ridge: float) -> dict[str, Tensor]:
    """Weights in which pruned units are affine functions of kept ones."""
    weights = {k: v.detach().clone() for k, v in case.vit.named_parameters()}
    E, largest = case.subnet.embed_dims, case.vit.space.largest
    g = torch.ones(E).double()
    number = 0  # branches so far
    for i, axis in product(range(largest.num_layers), WIDTHS):
        width, full = (getattr(s, axis)[i] for s in (case.subnet, largest))
        if not width:
            continue
        cut = Watched(weights, case.subnet, case.cfg)
        whole = Watched(weights, replace(largest, embed_dims=E), case.cfg)
        cut.seen, whole.seen = [], []
        x, _ = cut._embed(case.x, g)
        cut(case.x)
        streams = [x.detach(), *cut.seen[1::2]]
        x = streams[number]
        whole.branch(i, axis, x, g, torch.ones(full).double())
        number += 1
        units = whole.seen[0].flatten(2).flatten(0, 1)  # (n, U)
        kept = units.shape[1] // full * width
        if kept == units.shape[1]:
            continue
        inputs, pruned = units[:, :kept], units[:, kept:]
        M, m = least_squares(inputs, pruned, ridge)
        (name,) = (
            f'layers.{i}.{n}'
            for n in OUT[axis]
            if f'layers.{i}.{n}.weight' in weights
        )
        W, b = weights[f'{name}.weight'], weights[f'{name}.bias']
        removed = W[:E, kept:].clone()
        W[:E, :kept] += removed @ M
        b[:E] += removed @ m
    return weights


class Model(nn.Module):
    """As much of a model as is corrected."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone


@pytest.mark.parametrize('seed', range(12))
def test_it_is_least_squares_layer_by_layer(seed: int) -> None:
    case = random_case(seed, batch=6)
    case.vit.eval()
    expected = corrected_slowly(case, 0.01)
    before = snapshot(case.vit)
    batches = case.x.split(4)
    found = fit(Model(case.vit), case.subnet, batches, 0.01)
    for name, weight in found.backbone.named_parameters():
        torch.testing.assert_close(
            weight, expected[name], rtol=0, atol=1e-8, msg=name
        )
    assert_same_weights(case.vit, before)


@pytest.mark.parametrize('seed', range(12))
def test_exported_it_is_the_masked_network(seed: int) -> None:
    cfg = random_config(seed)
    model = random_model(cfg, seed).double()
    vit = model.backbone
    subnet = random_subnet(vit.space, seed)
    shape = (6, cfg.model.backbone.in_channels, *vit.img_size)
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=rng).double()
    copy, found = correct(model, subnet, x.split(4))
    exported = dense_network(copy, cfg.model, subnet).backbone
    weights = dict(copy.backbone.named_parameters())
    masked = DenseViT(weights, vit.space.largest, cfg.model.backbone)
    with torch.no_grad():
        expected = masked(x, gates_for(vit, subnet))
        for ours, theirs in zip(exported(x), expected, strict=True):
            is_map = vit.out_type == 'featmap'
            channels = 1 if is_map else -1
            theirs = theirs.narrow(channels, 0, subnet.embed_dims)
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
    # Never further off than the plain cut, on these images.
    assert found['images'] == 6
    assert found['error'] <= found['error_before']
    before = features_error(vit, vit, subnet, [x])
    assert found['error_before'] == pytest.approx(before)
    after = features_error(vit, copy.backbone, subnet, [x])
    assert found['error'] == pytest.approx(after)


def test_what_would_be_further_off_stays_as_it_was_cut(monkeypatch) -> None:
    case = random_case(0, batch=2)
    case.vit.eval()
    before = snapshot(case.vit)

    def further_off(whole, cut, subnet, batches) -> float:
        return 0.5 if cut is whole else 0.6

    monkeypatch.setattr(correct_module, 'features_error', further_off)
    copy, found = correct(Model(case.vit), case.subnet, [case.x])
    assert_same_weights(copy.backbone, before)
    assert found == dict(images=2, error_before=0.5, error=0.5)
