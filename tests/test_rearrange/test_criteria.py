"""Scores of units against slow, obvious twins."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.models.utils import SwiGLUFFN
from mmpretrain.registry import TASK_UTILS
from torch import Tensor
from toys import SWIGLU, batch_of

from eavit_mm.models.axes import CHANNELS
from eavit_mm.rearrange import (
    ActivationCriterion,
    MagnitudeCriterion,
    RandomCriterion,
    TaylorCriterion,
    rearrange,
)
from eavit_mm.rearrange.criteria import Scores, zero_scores
from eavit_mm.space.cells import FFN, HEADS

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


class Twin:
    """The network written out, with a gate of one on every unit.

    ``seen`` collects, for every unit of a kind, its activations.
    """

    def __init__(self, model: Any) -> None:
        vit = model.backbone
        self.model, self.vit = model, vit
        ones = zero_scores(vit)
        self.seen: dict[str, list[Tensor]] = {}
        self.gates: dict[str, Tensor] = {}
        for i in range(len(vit.layers)):
            for norm in ('ln1', 'ln2'):
                self.gates[f'{norm} {i}'] = torch.ones(vit.embed_dims)
            self.gates[f'head {i}'] = torch.ones(len(ones[HEADS, i]))
            neurons = len(ones[FFN, i])
            self.gates[f'neuron {i}'] = torch.ones(neurons)
        self.gates = {
            name: gate.double().requires_grad_()
            for name, gate in self.gates.items()
        }

    def gate(self, name: str, unit: int, value: Tensor) -> Tensor:
        self.seen.setdefault(f'{name} {unit}', []).append(value.detach())
        return value * self.gates[name][unit]

    def each(self, name: str, x: Tensor) -> Tensor:
        """Gates the last axis, one unit after the other."""
        units = [self.gate(name, k, x[..., k]) for k in range(x.shape[-1])]
        return torch.stack(units, dim=-1)

    def attention(self, i: int, x: Tensor) -> Tensor:
        attn = self.vit.layers[i].attn
        H, D = attn.num_heads, attn.head_dims
        y = F.linear(x, attn.qkv.weight, attn.qkv.bias)
        q, k, v = y.split(H * D, dim=-1)
        heads = []
        for h in range(H):
            part = slice(h * D, (h + 1) * D)
            score = q[..., part] @ k[..., part].transpose(1, 2) / D**0.5
            out = score.softmax(dim=-1) @ v[..., part]
            heads.append(self.gate(f'head {i}', h, out))
        out = attn.proj(torch.cat(heads, dim=-1))
        gamma = getattr(attn.gamma1, 'weight', None)
        return out if gamma is None else out * gamma

    def ffn(self, i: int, x: Tensor) -> Tensor:
        ffn = self.vit.layers[i].ffn
        if isinstance(ffn, SwiGLUFFN):
            gate, value = ffn.w12(x).chunk(2, dim=-1)
            hidden, last = F.silu(gate) * value, ffn.w3
        else:
            hidden, last = F.gelu(ffn.layers[0][0](x)), ffn.layers[1]
        out = last(self.each(f'neuron {i}', hidden))
        gamma = getattr(ffn.gamma2, 'weight', None)
        return out if gamma is None else out * gamma

    def logits(self, images: Tensor) -> Tensor:
        vit = self.vit
        x = vit.patch_embed(images)[0]
        if vit.cls_token is not None:
            x = torch.cat((vit.cls_token.expand(len(x), -1, -1), x), dim=1)
        x = vit.pre_norm(x + vit.pos_embed)
        for i, layer in enumerate(vit.layers):
            x = x + self.attention(i, self.each(f'ln1 {i}', layer.ln1(x)))
            x = x + self.ffn(i, self.each(f'ln2 {i}', layer.ln2(x)))
        if vit.final_norm:
            x = vit.ln1(x)
        if vit.out_type == 'cls_token':
            x = x[:, 0]
        else:
            x = vit.ln2(x[:, vit.num_extra_tokens :].mean(dim=1))
        return self.model.head.fc(x)

    def scores(self, value: Any) -> Scores:
        """Scores from a number per unit of every gate."""
        scores = zero_scores(self.vit)
        for i in range(len(self.vit.layers)):
            for k in range(self.vit.embed_dims):
                scores[CHANNELS][k] += value(f'ln1 {i}', k)
                scores[CHANNELS][k] += value(f'ln2 {i}', k)
            for k in range(len(scores[HEADS, i])):
                scores[HEADS, i][k] = value(f'head {i}', k)
            for k in range(len(scores[FFN, i])):
                scores[FFN, i][k] = value(f'neuron {i}', k)
        return scores


def add(one: Scores, other: Scores) -> Scores:
    return {units: one[units] + other[units] for units in one}


@pytest.mark.parametrize('network', NETWORKS)
def test_the_twin_is_the_network(network):
    model = build(seed=4, **NETWORKS[network])
    x = batch_of(0)['inputs']
    torch.testing.assert_close(
        Twin(model).logits(x), model(x, mode='tensor'), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize('network', NETWORKS)
def test_activation_is_the_mean_absolute_value_of_a_unit(network):
    model = build(seed=4, **NETWORKS[network])
    twin = Twin(model)
    expected = zero_scores(model.backbone)
    for batch in batches(2):
        twin.seen.clear()
        twin.logits(batch['inputs'])
        once = twin.scores(
            lambda name, k: twin.seen[f'{name} {k}'][0].abs().mean()
        )
        expected = add(expected, once)
    found = ActivationCriterion().score(model, batches(2))
    assert_same_scores(found, expected)


@pytest.mark.parametrize('network', NETWORKS)
def test_taylor_is_the_gradient_of_a_gate_of_one(network):
    model = build(seed=4, **NETWORKS[network])
    expected = zero_scores(model.backbone)
    for batch in batches(3):
        twin = Twin(model)
        labels = [int(s.gt_label) for s in batch['data_samples']]
        loss = F.cross_entropy(
            twin.logits(batch['inputs']), torch.tensor(labels)
        )
        names = list(twin.gates)
        gradients = torch.autograd.grad(
            loss,
            [twin.gates[n] for n in names],
            materialize_grads=True,
            allow_unused=True,
        )
        known = dict(zip(names, gradients, strict=True))
        once = twin.scores(lambda name, k, known=known: known[name][k].abs())
        expected = add(expected, once)
    found = TaylorCriterion().score(model, batches(3))
    assert_same_scores(found, expected)
    assert float(found[HEADS, 0].min()) > 0


def test_taylor_of_a_frozen_stage_is_that_of_a_free_one():
    free = build(seed=4)
    frozen = build(seed=4, frozen_stages=2)
    assert not any(
        p.requires_grad for p in frozen.backbone.layers[0].parameters()
    )
    assert_same_scores(
        TaylorCriterion().score(frozen, batches()),
        TaylorCriterion().score(free, batches()),
    )
    for parameter in free.parameters():
        parameter.requires_grad_(False)
    assert_same_scores(
        TaylorCriterion().score(free, batches()),
        TaylorCriterion().score(frozen, batches()),
    )


def test_taylor_works_where_gradients_are_off():
    model = build(seed=4)
    expected = TaylorCriterion().score(model, batches())
    with torch.no_grad():
        found = TaylorCriterion().score(model, batches())
    assert_same_scores(found, expected, rtol=1e-6)


@pytest.mark.parametrize('network', NETWORKS)
def test_magnitude_sums_the_weights_of_a_unit(network):
    model = build(seed=4, **NETWORKS[network])
    vit = model.backbone
    expected = zero_scores(vit)
    C = vit.embed_dims
    for c in range(C):
        conv = vit.patch_embed.projection.weight[c]
        expected[CHANNELS][c] = conv.abs().sum()
    for i, layer in enumerate(vit.layers):
        attn, ffn = layer.attn, layer.ffn
        D, H = attn.head_dims, attn.num_heads
        for h in range(H):
            total = 0.0
            for d in range(h * D, (h + 1) * D):
                total += attn.proj.weight[:, d].abs().sum()
                for part in range(3):
                    row = attn.qkv.weight[part * H * D + d]
                    total += row.abs().sum()
            expected[HEADS, i][h] = total
        if isinstance(ffn, SwiGLUFFN):
            into, out = ffn.w12.weight, ffn.w3.weight
        else:
            into, out = ffn.layers[0][0].weight, ffn.layers[1].weight
        width = out.shape[1]
        for f in range(width):
            rows = into[f::width]  # SwiGLU: gate and value
            total = rows.abs().sum() + out[:, f].abs().sum()
            expected[FFN, i][f] = total
        for c in range(C):
            expected[CHANNELS][c] += (
                attn.qkv.weight[:, c].abs().sum()
                + attn.proj.weight[c].abs().sum()
                + into[:, c].abs().sum()
                + out[c].abs().sum()
            )
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
    model = build()
    model.train()
    hooks = hooks_of(model)
    broken = batch_of(0)
    broken['inputs'] = broken['inputs'][:, :2]
    with pytest.raises(RuntimeError):
        CRITERIA[name]().score(model, [broken])
    assert model.training
    assert hooks_of(model) == hooks


@pytest.mark.parametrize('name', ['activation', 'taylor'])
def test_no_data_is_an_error_by_words(name):
    criterion = CRITERIA[name]()
    model = build().train()
    with pytest.raises(
        ValueError, match=r'Criterion needs at least one batch of calibration'
    ):
        criterion.score(model, ())
    assert model.training


@pytest.mark.parametrize('name', CRITERIA)
def test_a_config_names_a_criterion(name):
    kind = CRITERIA[name]
    built = TASK_UTILS.build(dict(type=f'eavit_mm.{kind.__name__}'))
    assert type(built) is kind
    assert built.needs_data == (name in ('activation', 'taylor'))
