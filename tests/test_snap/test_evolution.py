"""Coefficients by an evolution strategy, on networks that are really cut."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toys import SWIGLU, assert_same_weights, classifier, images, snapshot

from eavit_mm.models.axes import ffn_linears
from eavit_mm.rearrange import permute_backbone, sort_units
from eavit_mm.snap.cut import PROTECTED
from eavit_mm.snap.evolution import (
    PAIRS,
    XNES,
    Judge,
    evolve,
    race,
    start_coefficients,
    weigh,
)
from eavit_mm.snap.fidelity import Fidelity
from eavit_mm.space.cells import FFN, HEADS

L, H, NUM_IMAGES = 3, 6, 12


def judge_of(seed: int = 0, hidden: int = 20, **backbone: Any) -> Judge:
    """A network whose units stand in the order of drawn scores."""
    space = dict(
        embed_dims=[24],
        num_heads=list(range(1, H + 1)),
        feedforward_channels=list(range(1, hidden + 1)),
    )
    model = classifier(backbone=dict(space=space, **backbone))
    vit = model.eval().backbone
    rng = np.random.default_rng(seed)
    scores = {
        (axis, layer): torch.from_numpy(rng.exponential(1, number))
        for layer in range(L)
        for axis, number in ((FFN, hidden), (HEADS, H))
    }
    order = sort_units(scores)
    permute_backbone(vit, order)
    x = images(NUM_IMAGES).double()
    ordered = {units: scores[units][order[units]] for units in scores}
    return Judge(Fidelity(vit, x, batch_size=5), ordered)


def masked(vit: Any, scores: Any, pair: tuple[float, float]) -> Any:
    """The whole network in which what falls gives nothing."""
    vit = deepcopy(vit)
    for axis, share in zip((FFN, HEADS), pair, strict=True):
        number = len(scores[axis, 0])
        units = sorted(
            (int(rank) < int(PROTECTED[axis] * number), float(score), i, k)
            for i in range(L)
            for k, (score, rank) in enumerate(
                zip(
                    scores[axis, i],
                    (-scores[axis, i]).argsort().argsort(),
                    strict=True,
                )
            )
            if rank >= 1  # no branch is emptied
        )
        for *_, i, k in units[: int(number * L * share + 1e-9)]:
            if axis == HEADS:
                vit.layers[i].attn.proj.weight.data[:, 4 * k : 4 * k + 4] = 0
            else:
                ffn_linears(vit.layers[i].ffn)[1].weight.data[:, k] = 0
    return vit


@pytest.mark.parametrize('cfg', [{}, dict(layer_cfgs=SWIGLU, hidden=24)])
@pytest.mark.parametrize('seed', range(3))
def test_candidates_are_the_masked_network(cfg, seed):
    judge = judge_of(seed, **cfg)
    fidelity, vit = judge.fidelity, judge.fidelity.vit
    rng = np.random.default_rng(seed)
    c = start_coefficients(vit.space) + rng.standard_normal(L + L * H)
    scores = {}
    for i in range(L):
        scores[FFN, i] = judge.scores[FFN, i] * abs(c[i])
        factors = torch.from_numpy(abs(c[L + i * H : L + (i + 1) * H]))
        scores[HEADS, i] = judge.scores[HEADS, i] * factors
    weighed = weigh(judge.scores, c)
    assert all(torch.equal(weighed[k], v) for k, v in scores.items())
    order = scores[HEADS, 0].argsort(descending=True).tolist()
    assert order != sorted(order)
    with torch.no_grad():
        whole, *cut = (
            network(fidelity.images)[-1]
            for network in (vit, *(masked(vit, scores, p) for p in PAIRS))
        )
    mean = whole.mean(0)
    losses = [1 - F.cosine_similarity(x - mean, whole - mean) for x in cut]
    before = snapshot(vit)
    found = judge(c, slice(2, 9))
    np.testing.assert_allclose(
        found, torch.stack(losses).mean(0)[2:9], atol=1e-9
    )
    assert_same_weights(vit, before)


def test_components_are_those_of_the_embeddings(monkeypatch):
    monkeypatch.setattr('eavit_mm.snap.fidelity.COMPONENTS', 3)
    fidelity = judge_of().fidelity
    whole = fidelity.vit(fidelity.images)[-1].detach()
    _, vectors = torch.linalg.eigh(torch.cov(whole.T))
    axes = vectors[:, -3:]
    subnet = fidelity.vit.space.uniform(0.5)
    with torch.no_grad(), fidelity.vit.use(subnet):
        cut = fidelity.vit(fidelity.images)[-1]
    projected = ((x - whole.mean(0)) @ axes for x in (cut, whole))
    torch.testing.assert_close(
        fidelity.losses(subnet), 1 - F.cosine_similarity(*projected)
    )
    assert fidelity.losses(fidelity.vit.space.largest).max() < 1e-12


# The strategy


def test_an_update_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    strategy = XNES(rng.standard_normal(5))
    n = strategy.number
    assert n == 4 + int(3 * np.log(5))
    for _ in range(3):
        mean, shape = strategy.mean, strategy.shape
        noise = rng.standard_normal((n, 5))
        drawn = strategy.candidates(noise)
        np.testing.assert_allclose(drawn[2], mean + shape @ noise[2])
        order = rng.permutation(n)
        strategy.update(noise, order.tolist())
        u = [max(0, np.log(n / 2 + 1) - np.log(k + 1)) for k in range(n)]
        u = np.array(u) / sum(u) - 1 / n
        step = sum(u[k] * noise[i] for k, i in enumerate(order))
        second = sum(
            u[k] * (np.outer(noise[i], noise[i]) - np.eye(5))
            for k, i in enumerate(order)
        )
        rate = 0.6 * (3 + np.log(5)) / 5**1.5
        turned = torch.matrix_exp(torch.from_numpy(rate / 2 * second))
        np.testing.assert_allclose(strategy.mean, mean + shape @ step)
        np.testing.assert_allclose(strategy.shape, shape @ turned.numpy())


def bowl(c: np.ndarray, part: slice) -> np.ndarray:
    """A smooth loss of which every image has its own."""
    noise = np.random.default_rng(3).standard_normal(64) * 1e-3
    return (np.square(c - 2) * [1, 3, 9, 1]).sum() + noise[part]


def test_it_finds_what_chance_does_not():
    settings = dict(measure=bowl, total=64, start=np.zeros(4), seed=1)
    best, loss = evolve(**settings, evaluations=400)
    _, by_chance = evolve(**settings, evaluations=400, at_random=True)
    assert loss < 0.01 < 0.1 < by_chance
    np.testing.assert_allclose(best, 2, atol=0.1)
    start, of_start = evolve(**settings, evaluations=1)
    assert start.tolist() == [0] * 4
    assert of_start == pytest.approx(bowl(start, slice(None)).mean())


def test_a_race_ends_early_where_candidates_are_apart():
    seen = []

    def measure(c: np.ndarray, part: slice) -> np.ndarray:
        seen.append((float(c[0]), part))
        noise = np.random.default_rng(int(10 * c[0])).standard_normal(64)
        return c[0] + 0.1 * noise[part]

    values = [3.0, 0.1, 5.0, 0.0, 4.0]
    order, losses = race(measure, [np.array([v]) for v in values], 64)
    assert order[2:] == [0, 4, 2]
    assert {*order[:2]} == {1, 3}
    lengths = [len(loss) for loss in losses]
    assert lengths[0] == lengths[2] == lengths[4] == 8
    assert lengths[order[0]] == 64
    # No image is looked at twice.
    parts = [part for value, part in seen if value == values[order[0]]]
    assert [(p.start, p.stop) for p in parts] == [
        (0, 8),
        (8, 16),
        (16, 32),
        (32, 64),
    ]


@pytest.mark.parametrize('at_random', [False, True])
def test_resumed_is_uninterrupted(at_random):
    settings: dict[str, Any] = dict(
        total=64, start=np.zeros(4), evaluations=30, at_random=at_random
    )
    records: list[Any] = []
    whole = evolve(bowl, **settings, record=records.append)
    assert sum(len(r['order']) for r in records) == 30
    assert records[0]['order'] == [0]
    for done in range(len(records)):
        again: list[Any] = []
        best, loss = evolve(
            bowl, **settings, known=records[:done], record=again.append
        )
        assert best.tolist() == whole[0].tolist()
        assert loss == whole[1]
        assert again == records[done:]


@pytest.mark.parametrize(
    'wrong',
    [
        dict(evaluations=0),
        dict(seed=-1),
        dict(at_random='no'),
    ],
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        evolve(bowl, 64, np.zeros(4), **wrong)
