"""The image router learns what the levels get right, and what it costs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fronts import front_of
from mmpretrain.registry import MODELS

from eavit_mm.engine.image_routing import (
    Observed,
    calibrate,
    fit,
    fit_image_router,
    levels_of,
    observe,
)
from eavit_mm.engine.loops import AdaptiveTestLoop
from eavit_mm.models import AdaptiveClassifier, BudgetSolver
from eavit_mm.models.image_router import level_costs
from eavit_mm.space import Budget

from .test_router_hook import run
from .toys import build, evaluated, images, loader, model_cfg, randomise

ADAPTIVE = dict(num_levels=3, hidden=8, num_images=8, epochs=3)


def routed(**options: Any) -> Any:
    torch.manual_seed(0)
    router = dict(type='eavit_mm.RouterHead', adaptive={**ADAPTIVE, **options})
    model = randomise(MODELS.build(model_cfg(router=router)))
    model.router.set_front(front_of(model))
    model.router.images.levels = levels_of(model)
    return model.eval()


def batches(tmp_path: Path, size: int = 20) -> Any:
    return build(tmp_path, train_dataloader=loader(size)).train_dataloader


def test_levels_are_the_best_known_of_rising_cost() -> None:
    model = routed(num_levels=5)
    levels = levels_of(model)
    macs = [model.macs(level)['total'] for level in levels]
    assert 2 <= len(levels) <= 5
    assert macs == sorted(set(macs))
    solver = BudgetSolver(model)
    for level, cost in zip(levels, macs, strict=True):
        assert solver([Budget('macs', cost, str(cost))], 'best') == level


def test_images_are_seen_through_every_level(tmp_path: Path) -> None:
    model = routed()
    data = list(batches(tmp_path))
    seen = observe(model, data)
    row = 0
    for raw in data:
        x = model.data_preprocessor(raw, False)['inputs']
        for image, sample in zip(list(x), raw['data_samples'], strict=True):
            for k, level in enumerate(model.router.images.levels):
                with torch.no_grad(), model.backbone.use(level):
                    logits = model(image[None], mode='tensor')[0]
                label = int(sample.gt_label)
                right = float(logits.softmax(0)[label])
                assert seen.right[row, k] == pytest.approx(right, abs=1e-5)
                correct = int(logits.argmax()) == label
                assert seen.correct[row, k] == correct
            row += 1
    assert row == len(seen.inputs) == 20


def test_it_learns_which_images_need_more() -> None:
    # The large level helps only where the first input is positive.
    model = routed(num_levels=2, epochs=60, lr=1e-2, hidden=16)
    router = model.router.images
    rng = torch.Generator().manual_seed(1)
    inputs = torch.randn(600, 17, generator=rng)
    is_hard = inputs[:, 0] > 0
    right = torch.stack([1 - 0.9 * is_hard.float(), torch.ones(600)], dim=1)
    observed = Observed(inputs[:, None], right, right > 0.5)
    before = [p.clone() for p in router.mlp.parameters()]
    fit(router, observed, seed=0)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(before, router.mlp.parameters(), strict=True)
    )
    assert not any(p.requires_grad for p in router.mlp.parameters())
    _, extra = level_costs(model)
    levels = router.choose(inputs, 0.3, extra)
    assert (levels.bool() == is_hard).float().mean() > 0.95
    # All that the larger level can give, for half of its cost.
    held = calibrate(model, observed)
    half = [h for h in held if h.metric > 0.95]
    assert min(h.share for h in half) < level_costs(model)[0] + 0.6 * extra[1]


def test_a_scout_that_tells_nothing_is_dropped(monkeypatch: Any) -> None:
    model = routed(num_levels=3, epochs=40, lr=1e-2, hidden=16)
    rng = torch.Generator().manual_seed(2)
    is_hard = torch.rand(500, generator=rng) > 0.5
    noise = torch.randn(500, 3, 17, generator=rng)
    noise[:, 1, 0] = 4 * is_hard.float() - 2  # what the second level sees
    right = torch.stack([is_hard * 0.0, 1 - is_hard.float()], dim=1)
    right = torch.cat([right, torch.ones(500, 1)], dim=1)
    observed = Observed(noise, right, right > 0.5)
    levels = levels_of(model)

    def costs(model: Any) -> tuple[float, list[float]]:
        first, *others = (0.1, 0.2, 0.5)[-len(model.router.images.levels) :]
        return first, [0.0, *others]

    place = 'eavit_mm.engine.image_routing'
    monkeypatch.setattr(f'{place}.observe', lambda *args: observed)
    monkeypatch.setattr(f'{place}.level_costs', costs)
    assert len(levels) == 3
    fit_image_router(model, [], [], seed=0)
    assert model.router.images.levels == levels[1:]
    held = model.router.images.held_out
    assert max(h.metric for h in held if h.share < 0.5) > 0.95


def test_prices_tell_costs_and_accuracy_of_held_out_images(
    tmp_path: Path,
) -> None:
    model = routed()
    data = batches(tmp_path)
    fit_image_router(model, data, data, seed=0)
    seen = observe(model, data)
    router = model.router.images
    assert router.held_out
    largest = model.macs()['total']
    for held in router.held_out:
        _, extra = level_costs(model)
        levels = router.choose(seen.inputs[:, 0], held.price, extra)
        costs = [model.macs(s)['total'] for s in router.levels]
        scout = costs[0] + router.macs
        spent = [scout + (costs[k] if k else 0) for k in levels.tolist()]
        assert held.share == pytest.approx(np.mean(spent) / largest)
        rows = torch.arange(len(levels))
        correct = seen.correct[rows, levels].float().mean()
        assert held.metric == pytest.approx(correct.item())
    distinct = {(h.share, h.metric) for h in router.held_out}
    assert len(distinct) == len(router.held_out)


@pytest.mark.parametrize('averaged', [False, True])
def test_stage_2_ends_with_it(
    tmp_path: Path, averaged: bool, monkeypatch: Any
) -> None:
    average = [dict(type='EMAHook', momentum=0.5)] * averaged
    whole, again = tmp_path / 'whole', tmp_path / 'again'
    states = []
    fits = []

    def noted(router: Any, *args: Any) -> None:
        fit(router, *args)
        fits.append([p.clone() for p in router.mlp.parameters()])

    monkeypatch.setattr('eavit_mm.engine.image_routing.fit', noted)
    for folder in (whole, again):
        folder.mkdir()
        options = dict(adaptive=ADAPTIVE, warmup=2, num_budgets=5)
        run(folder, average, evaluated(), **options)
        path = folder / 'epoch_3.pth'
        states.append(torch.load(path, weights_only=True)['state_dict'])
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    router = dict(type='eavit_mm.RouterHead', adaptive=ADAPTIVE)
    model = MODELS.build(model_cfg(router=router))
    model.load_state_dict(states[0])
    levels = model.router.images.levels
    assert levels == levels_of(model)[-len(levels) :]
    # One of the fits, not what was before.
    found = list(model.router.images.mlp.parameters())
    assert any(
        all(torch.equal(a, b) for a, b in zip(found, weights, strict=True))
        for weights in fits
    )
    # The prices are those of the weights in the file.
    data = build(tmp_path / 'data', **evaluated()).val_dataloader
    model.eval()
    held = calibrate(model, observe(model, data))
    found = model.router.images.held_out
    assert [h.price for h in held] == [h.price for h in found]
    for ours, theirs in zip(held, found, strict=True):
        assert ours == pytest.approx(theirs)


def test_it_needs_data_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='needs validation data and num_bud'):
        run(tmp_path, adaptive=ADAPTIVE, warmup=2)
    with pytest.raises(ValueError, match='num_budgets of at least 1; got 0'):
        run(tmp_path, (), evaluated(), ADAPTIVE, warmup=2, num_budgets=0)


def test_the_loop_compares_means_with_one_subnet(tmp_path: Path) -> None:
    model = routed()
    data = batches(tmp_path)
    fit_image_router(model, data, data, seed=0)
    path = tmp_path / 'stage2.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    base, _ = level_costs(model)
    budgets = [base + 0.01, 0.9]
    tests = {k: v for k, v in evaluated().items() if k.startswith('test')}
    tests['test_cfg'] = dict(type='eavit_mm.AdaptiveTestLoop', budgets=budgets)
    router = dict(type='eavit_mm.RouterHead', adaptive=ADAPTIVE)
    runner = build(
        tmp_path / 'test',
        model=model_cfg(router=router),
        load_from=str(path),
        train_dataloader=None,
        train_cfg=None,
        optim_wrapper=None,
        custom_hooks=None,
        **tests,
    )
    metrics = runner.test()
    loop = runner.test_loop
    assert isinstance(loop, AdaptiveTestLoop)
    largest = model.macs()['total']
    samples = [(raw['inputs'], raw['data_samples']) for raw in loop.dataloader]
    for budget, row in zip(budgets, loop.rows, strict=True):
        network = AdaptiveClassifier(model, budget)
        right, macs = [], []
        for inputs, labels in samples:
            batch = dict(inputs=inputs, data_samples=labels)
            for found in network.test_step(batch):
                right.append(bool(found.pred_label == found.gt_label))
                macs.append(found.macs)
        name = 'accuracy/top1'
        assert row['metrics'][name] == pytest.approx(100 * np.mean(right))
        assert row['macs'] == pytest.approx(np.mean(macs))
        assert row['macs_ratio'] == pytest.approx(np.mean(macs) / largest)
        assert row['static_macs'] <= row['macs']
        gain = row['metrics'][name] - row['static'][name]
        assert row['gain'] == pytest.approx(gain)
    assert {'auc', 'static_auc'} <= metrics.keys()
    assert runner.model.backbone.subnet is None


def test_images_without_one_label_are_refused(tmp_path: Path) -> None:
    model = routed()
    (raw, *_) = batches(tmp_path)
    raw['data_samples'][0].set_gt_label([0, 1])
    with pytest.raises(ValueError, match='must have one label each'):
        observe(model, [raw])


def test_logits_alone_are_enough(tmp_path: Path) -> None:
    # As export and benchmarks of a forward call it.
    model = routed()
    data = batches(tmp_path)
    fit_image_router(model, data, data, seed=0)
    with torch.no_grad():
        logits = AdaptiveClassifier(model, 0.9)(images(), mode='tensor')
    assert logits.shape == (5, 3)
