"""Neighbours and probe against scikit-learn and a plain loop."""

import numpy as np
import pytest
import torch
from mmpretrain.registry import METRICS
from mmpretrain.structures import DataSample
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize
from torch import nn

from eavit_mm.engine.metrics import EmbeddingMetric, nearest, probe


def clouds(seed: int, n: int = 90) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=n)
    points = rng.standard_normal((n, 6)) + 2 * np.eye(4, 6)[labels]
    return torch.from_numpy(points).float(), torch.from_numpy(labels)


@pytest.mark.parametrize('k', [1, 4, 20])
def test_neighbours_vote_as_scikit_learns(k: int) -> None:
    (train, labels), (test, _) = clouds(0), clouds(1)
    train = train * (1 + torch.rand(len(train), 1))  # lengths do not count
    theirs = KNeighborsClassifier(k).fit(normalize(train), labels)
    found = nearest(train, labels, test, k)
    assert found.tolist() == theirs.predict(normalize(test)).tolist()
    everyone = nearest(train, labels, test, 1000)
    assert set(everyone.tolist()) == {int(labels.bincount().argmax())}


def test_the_probe_is_gradient_descent_with_momentum() -> None:
    (train, labels), (test, truth) = clouds(0, 300), clouds(1)
    epochs, lr = 5, 0.05
    rng = torch.Generator().manual_seed(0)
    weight = torch.empty(4, 6)
    nn.init.normal_(weight, std=0.01, generator=rng)
    x = torch.cat([train, torch.ones(300, 1)], dim=1)
    weight = torch.cat([weight, torch.zeros(4, 1)], dim=1)
    speed = torch.zeros_like(weight)
    for epoch in range(epochs):
        step = lr * (1 + np.cos(np.pi * epoch / epochs)) / 2
        order = torch.randperm(300, generator=rng)
        for part in (order[:256], order[256:]):
            wrong = (x[part] @ weight.T).softmax(1)
            wrong[torch.arange(len(part)), labels[part]] -= 1
            speed = 0.9 * speed + wrong.T @ x[part] / len(part)
            weight = weight - step * speed
    expected = (test @ weight[:, :6].T + weight[:, 6]).argmax(1)
    with torch.no_grad():  # as in an evaluation
        found = probe(train, labels, test, epochs, lr)
    assert torch.equal(found, expected)
    assert (found == truth).double().mean() > 0.7


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match='epochs=0; must be'):
        EmbeddingMetric(k=0, epochs=0)
    metric = METRICS.build(dict(type='eavit_mm.EmbeddingMetric'))
    with pytest.raises(ValueError, match='runs under tools/test.py'):
        metric.process({}, [])


@pytest.mark.parametrize('label', [None, [0, 2]])
def test_images_need_one_class(label: list[int] | None) -> None:
    class Model(nn.Module):
        def data_preprocessor(self, batch: dict, training: bool) -> dict:
            return batch

    model, sample = Model(), DataSample()
    if label is not None:
        sample.set_gt_label(label)
    metric = EmbeddingMetric()
    metric.attach(model, {})
    with pytest.raises(ValueError, match='needs images of one class each'):
        metric.process(dict(inputs=None, data_samples=[sample]), [])
