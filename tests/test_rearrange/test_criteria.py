"""Scores of units against slow, obvious twins."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from dense import DenseViT
from torch import Tensor
from toys import SWIGLU, batch_of, options

from eavit_mm.models.axes import (
    CHANNELS,
    Units,
    ffn_linears,
    narrow_weights,
    units_of,
)
from eavit_mm.rearrange import (
    ActivationCriterion,
    MagnitudeCriterion,
    RandomCriterion,
    TaylorCriterion,
    rearrange,
)
from eavit_mm.rearrange.criteria import Scores, zero_scores
from eavit_mm.space.cells import EMBED, FFN, HEADS

from .toys import CRITERIA, assert_same_scores, batches, build, draw

NETWORKS = dict(
    plain={},
    mean_pool=dict(
        out_type='avg_featmap', with_cls_token=False, final_norm=False
    ),
    pre_norm=dict(pre_norm=True, patch_cfg=dict(norm_cfg=dict(type='LN'))),
    scaled=dict(layer_scale_init_value=0.3, qkv_bias=False),
    swiglu=dict(layer_cfgs=SWIGLU, out_type='avg_featmap'),
    ffn_per_layer=dict(
        layer_cfgs=[dict(feedforward_channels=f) for f in (7, 20, 28)]
    ),
)
SORTING = ('activation', 'magnitude', 'taylor')


class Twin(DenseViT):
    """The largest subnet by hand, with a gate of one on every unit.

    A forward leaves the activations (..., units, width of a unit) in
    ``seen`` and the gates in ``gates``, each with its kind of unit.
    """

    def __init__(self, network: str) -> None:
        self.model = build(seed=4, **NETWORKS[network])
        vit, cfg = self.model.backbone, options(**NETWORKS[network])
        super().__init__(dict(vit.named_parameters()), vit.space.largest, cfg)
        self.seen: list[tuple[Units, Tensor]] = []
        self.gates: list[tuple[Units, Tensor]] = []

    def see(self, place: tuple[str, int], x: Tensor) -> Tensor:
        if place[0] == 'state':
            return x
        units = CHANNELS if place[0] == 'norm' else place
        gate = torch.ones_like(self.zeros()[units]).double().requires_grad_()
        activations = x.flatten(2).unflatten(-1, (len(gate), -1))
        self.seen.append((units, activations.detach()))
        self.gates.append((units, gate))
        return (activations * gate[:, None]).flatten(-2)

    def zeros(self) -> Scores:
        return zero_scores(self.model.backbone)

    def logits(self, images: Tensor) -> Tensor:
        self.seen.clear()
        self.gates.clear()
        return self.model.head.fc(self(images)[-1])


@pytest.mark.parametrize('network', NETWORKS)
def test_activation_is_the_mean_absolute_value_of_a_unit(network):
    twin = Twin(network)
    expected = twin.zeros()
    for batch in batches(2):
        twin.logits(batch['inputs'])
        for units, activations in twin.seen:
            for k, values in enumerate(activations.unbind(-2)):
                expected[units][k] += values.abs().mean()
    found = ActivationCriterion().score(twin.model, batches(2))
    assert_same_scores(found, expected)


def neurons(twin: Twin, gradients: dict[str, Tensor]) -> Scores:
    """|sum(w1 dw1 + b1 db1)| + |sum(w2 dw2)|: DynaBERT's scores."""
    found = {}
    for i, layer in enumerate(twin.model.backbone.layers):
        first, last = ffn_linears(layer.ffn)
        names = {m: f'layers.{i}.{n}' for n, m in layer.named_modules()}
        w1, b1, w2 = (
            twin.weights[name].detach() * gradients[name]
            for name in (
                f'{names[first]}.weight',
                f'{names[first]}.bias',
                f'{names[last]}.weight',
            )
        )
        inside = (w1.sum(1) + b1).unflatten(0, (-1, w2.shape[1])).sum(0)
        found[FFN, i] = inside.abs() + w2.sum(0).abs()
    return found


@pytest.mark.parametrize('network', NETWORKS)
def test_taylor_is_dynaberts(network):
    """A head's is the gradient of a mask of one, and so is a channel's."""
    twin = Twin(network)
    expected = twin.zeros()
    for batch in batches(3):
        logits = twin.logits(batch['inputs'])
        x = twin.model(batch['inputs'], mode='tensor')
        torch.testing.assert_close(logits, x, rtol=0, atol=1e-9)
        labels = [int(s.gt_label) for s in batch['data_samples']]
        gradients = torch.autograd.grad(
            F.cross_entropy(logits, torch.tensor(labels)),
            [*(gate for _, gate in twin.gates), *twin.weights.values()],
            materialize_grads=True,
            allow_unused=True,
        )
        number = len(twin.gates)
        of_weights = dict(zip(twin.weights, gradients[number:], strict=True))
        for units, score in neurons(twin, of_weights).items():
            expected[units] += score
        for (units, _), gradient in zip(twin.gates, gradients, strict=False):
            if units[0] != FFN:
                expected[units] += gradient.abs()
    found = TaylorCriterion().score(twin.model, batches(3))
    assert_same_scores(found, expected)
    assert float(found[HEADS, 0].min()) > 0


def test_taylor_of_a_frozen_stage_is_that_of_a_free_one():
    free = build(seed=4)
    frozen = build(seed=4, frozen_stages=2)
    assert not any(
        p.requires_grad for p in frozen.backbone.layers[0].parameters()
    )
    expected = TaylorCriterion().score(free, batches())
    with torch.no_grad():  # as inside of hooks
        found = TaylorCriterion().score(frozen, batches())
    assert_same_scores(found, expected)
    for parameter in free.parameters():
        parameter.requires_grad_(False)
    found = TaylorCriterion().score(free, batches())
    assert_same_scores(found, expected)


@pytest.mark.parametrize('network', NETWORKS)
def test_magnitude_is_what_a_unit_adds_to_the_maps(network):
    vit = (model := build(seed=4, **NETWORKS[network])).backbone
    largest = vit.space.largest

    def total(units: Units, width: int) -> Tensor:
        """Sum of |w| over the maps, where one kind has so many units."""
        axis, layer = units
        if axis == EMBED:
            subnet = replace(largest, embed_dims=max(width, 1))
        else:
            widths = list(getattr(largest, axis))
            widths[layer] = width
            subnet = replace(largest, **{axis: widths})
        maps = narrow_weights(vit, subnet).items()
        found = [
            w.abs().sum() for n, w in maps if n[-6:] == 'weight' and w.ndim > 1
        ]
        return sum(found) * (width > 0 or axis != EMBED)

    expected = {
        units: torch.stack(
            [total(units, k + 1) - total(units, k) for k in range(number)]
        )
        for units, number in units_of(largest).items()
    }
    assert_same_scores(MagnitudeCriterion().score(model, ()), expected)


@pytest.mark.parametrize('name', SORTING)
@pytest.mark.parametrize('seed', range(2))
def test_scores_are_sorted_after_rearranging(name, seed):
    model, criterion = draw(seed), CRITERIA[name]()
    before = criterion.score(model, batches(model=model))
    found = rearrange(model, criterion, batches(model=model))
    after = criterion.score(model, batches(model=model))
    moved = {units: before[units][order] for units, order in found.items()}
    assert_same_scores(after, moved)
    for name_, vector in moved.items():
        assert (vector[:-1] >= vector[1:]).all(), name_
    for name_, vector in after.items():
        slack = 1e-4 * vector.abs().max()
        assert (vector[:-1] >= vector[1:] - slack).all(), name_


def test_a_seed_decides_the_random_order():
    model = build()
    first, other = (
        RandomCriterion(seed).score(model, ())[CHANNELS] for seed in (0, 1)
    )
    assert not torch.equal(first, other)
    state = torch.get_rng_state()
    RandomCriterion().score(model, ())
    assert torch.equal(torch.get_rng_state(), state)


def hooks_of(model: Any) -> int:
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks)
        for m in model.modules()
    )


@pytest.mark.parametrize('name', CRITERIA)
@pytest.mark.parametrize('training', [True, False])
def test_scoring_leaves_the_model_as_it_was(name, training):
    model = build(drop_path_rate=0.5, drop_rate=0.2)
    model.train(training)
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    hooks = hooks_of(model)
    first = CRITERIA[name]().score(model, batches())
    assert model.training is training
    assert model.backbone.layers[1].ffn.training is training
    assert all(p.grad is None for p in model.parameters())
    assert hooks_of(model) == hooks
    assert model.backbone.subnet is None
    for key, value in model.state_dict().items():
        assert torch.equal(value, weights[key]), key
    # Dropout and drop path are off while units are scored.
    second = CRITERIA[name]().score(model, batches())
    for unit, vector in first.items():
        assert torch.equal(vector, second[unit]), unit


@pytest.mark.parametrize('name', ['activation', 'taylor'])
def test_a_failure_leaves_the_model_as_it_was(name):
    model = build().train()
    hooks = hooks_of(model)
    broken = batch_of(0)
    broken['inputs'] = broken['inputs'][:, :2]
    with pytest.raises(RuntimeError):
        CRITERIA[name]().score(model, [broken])
    with pytest.raises(ValueError, match='needs at least one batch of calib'):
        CRITERIA[name]().score(model, ())
    assert model.training
    assert hooks_of(model) == hooks
