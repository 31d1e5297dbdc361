"""Cascades against every pair tried one by one, and images one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eavit_mm.engine.loops import cascade_test_loop
from eavit_mm.engine.loops.cascade_test_loop import fit_cascade
from eavit_mm.space import Subnet

from .toys import build, evaluated, loader, randomise

BUDGETS = [0.4, 0.7, 0.9]


def right_of(
    scores: np.ndarray, labels: np.ndarray, pair: tuple[int, int, float]
) -> list[bool]:
    """Image by image."""
    i, j, threshold = pair
    return [
        (second if first.max() < threshold else first).argmax() == label
        for first, second, label in zip(
            scores[i], scores[j], labels, strict=True
        )
    ]


@pytest.mark.parametrize('seed', range(20))
def test_the_fitted_pair_is_the_best_within_the_limit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.full(3, 0.5), (4, 40)).astype(np.float32)
    labels = rng.integers(3, size=40)
    costs = np.sort(rng.uniform(1, 10, 4))
    limit = rng.uniform(costs[0], costs[-1])
    pair = fit_cascade(
        torch.tensor(scores), torch.tensor(labels), costs, limit
    )
    i, j, threshold = pair
    asked = (scores[i].max(-1) < threshold).mean()
    assert costs[i] + asked * costs[j] <= limit + 1e-9
    found = np.mean(right_of(scores, labels, pair))
    for first in range(4):
        if costs[first] <= limit:
            assert found >= np.mean(scores[first].argmax(-1) == labels)
        for second in range(first + 1, 4):
            share = (limit - costs[first]) / costs[second]
            if 0 < share < 1:
                ranked = np.sort(scores[first].max(-1))
                sure = ranked[int(share * (len(ranked) - 1))]
                other = right_of(scores, labels, (first, second, sure))
                assert found >= np.mean(other) - 1e-9


def run(tmp_path: Path, **options: Any) -> Any:
    runner = build(
        tmp_path,
        **{
            **evaluated(),
            'test_dataloader': loader(15, seed=2),
            'test_cfg': dict(type='eavit_mm.CascadeTestLoop', **options),
        },
    )
    randomise(runner.model)
    return runner


@torch.no_grad()
@pytest.mark.parametrize('is_fitted', [True, False])
def test_a_cascade_is_what_it_is_image_by_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_fitted: bool
) -> None:
    """A fit on random weights may take one alone: so made-up pairs, too."""
    if not is_fitted:
        monkeypatch.setattr(
            cascade_test_loop,
            'fit_cascade',
            lambda scores, *_: (1, 3, float(scores[1].amax(-1).median())),
        )
    runner = run(tmp_path, budgets=BUDGETS)
    metrics = runner.test()
    loop, model = runner.test_loop, runner.model
    data, whole = loop.dataloader.dataset, model.macs()['total']
    assert [row['name'] for row in loop.rows] == ['0.4', '0.7', '0.9']
    for row in loop.rows:
        pair = [Subnet.from_dict(values) for values in row['cascade']]
        right, spent = 0, 0
        for image, label in zip(data.images, data.labels, strict=True):
            inputs = (torch.from_numpy(image)[None] - 0.1) / 1.1
            for subnet in pair:
                spent += model.macs(subnet)['total']
                with model.backbone.use(subnet):
                    scores = model(inputs, mode='tensor').softmax(-1)
                if scores.max() >= row['threshold']:
                    break
            right += int(scores.argmax() == label)
        assert row['macs'] == pytest.approx(spent / len(data))
        assert row['macs_ratio'] == row['macs'] / whole
        found = metrics[f'{row["name"]}/accuracy/top1']
        assert found == pytest.approx(100 * right / len(data))
    assert is_fitted or all(len(row['cascade']) == 2 for row in loop.rows)


def test_what_cannot_be_a_cascade_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='budget 9MMACs; must be a share'):
        _ = run(tmp_path, budgets=['9MMACs']).test_loop
    with pytest.raises(ValueError, match='budget 0.001'):
        _ = run(tmp_path, budgets=[0.001]).test_loop
    wrong = evaluated()
    wrong['test_cfg'] = dict(type='eavit_mm.CascadeTestLoop', budgets=[0.5])
    wrong['test_evaluator'] = dict(type='ConfusionMatrix')
    with pytest.raises(ValueError, match='must be one Accuracy'):
        _ = build(tmp_path, **wrong).test_loop
