"""Weight decay of open weights alone, against weights opened one by one."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from torch import Tensor
from toys import (
    ARCH,
    HEADS,
    SPACE,
    assert_same_weights,
    batch_of,
    classifier,
    dense_twin,
    member,
    options,
    random_case,
    random_subnet,
    snapshot,
)

from eavit_mm.models.active_decay import open_masks
from eavit_mm.models.elastic_model import ElasticModelMixin
from eavit_mm.space import SearchSpace, Subnet

pytestmark = pytest.mark.usefixtures('run_seed')
LR, DECAY = 0.02, 4.0
# A key's bias has no gradient but rounding errors; they must not count.
EPS = 1e-4
UNIFORM = dict(type='eavit_mm.UniformSampler', num=2)
# Half the channels; the second layer has no attention, the third no FFN.
NARROW = member(embed_dims=8)


def model_of(*subnets: Subnet, active_only: bool = True, **changes: Any):
    """A classifier that trains these subnets in each step."""
    if subnets:
        listed = [subnet.to_dict() for subnet in subnets]
        changes['sampler'] = dict(
            type='eavit_mm.FixedListSampler', subnets=listed, num=None
        )
    return classifier(decay_active_only=active_only, **changes)


def adamw(model: Any, cls: Any = torch.optim.AdamW, **changes: Any) -> Any:
    options = dict(lr=LR, weight_decay=DECAY)
    return OptimWrapper(cls(model.parameters(), **{**options, **changes}))


def opened(model: Any, *subnets: Subnet) -> dict[str, Tensor]:
    """Which weights the dense networks take, each from its place."""
    open_ = {
        name: torch.zeros_like(p, dtype=torch.bool)
        for name, p in model.named_parameters()
    }
    for subnet in subnets:
        dense = dense_twin(model.backbone, subnet, options())
        for name, _ in dense.named_parameters():
            source, part = dense.cuts[name]
            open_[f'backbone.{source}'][part] = True
        open_['head.fc.weight'][:, : subnet.embed_dims] = True
        open_['head.fc.bias'][:] = True
    return open_


def named(model: Any, masks: dict[Tensor, Tensor]) -> dict[str, Tensor]:
    return {name: masks[p] for name, p in model.named_parameters()}


# Which weights are open


def test_open_weights_are_those_of_the_dense_networks():
    model = classifier()
    subnets = [random_subnet(model.backbone.space, seed) for seed in range(20)]
    alone = [named(model, open_masks(model, [s])) for s in subnets]
    for subnet, masks in zip(subnets, alone, strict=True):
        for name, mask in opened(model, subnet).items():
            assert torch.equal(masks[name], mask), (subnet, name)
        total = sum(int(mask.sum()) for mask in masks.values())
        assert total == model.params(subnet)['total']
    union = named(model, open_masks(model, subnets[:3]))
    for name, mask in union.items():
        assert torch.equal(mask, sum(masks[name] for masks in alone[:3]) > 0)
    # No rectangle: one subnet has more rows, another more columns.
    a, b = member(8, (2, 2, 2), (20,) * 3), member(14, (2, 2, 2), (7,) * 3)
    weight = model.backbone.layers[0].ffn.layers[0][0].weight
    assert int(open_masks(model, [a, b])[weight].sum()) == 8 * 20 + 6 * 7


@pytest.mark.parametrize('seed', range(30))
def test_open_weights_of_any_network(seed):
    """SwiGLU, layer scale, further norms, weights without bias."""
    case = random_case(seed)
    model = SimpleNamespace(
        backbone=case.vit, consumers={}, open_weights=case.vit.open_weights
    )
    masks = named(case.vit, open_masks(model, [case.subnet]))
    total = sum(int(mask.sum()) for mask in masks.values())
    assert total == case.vit.params(case.subnet)
    for name, _ in case.dense.named_parameters():
        source, part = case.dense.cuts[name]
        assert masks[source][part].all(), name


@pytest.mark.parametrize('head', HEADS)
def test_open_weights_of_a_head(head):
    model = classifier(head=HEADS[head])
    masks = open_masks(model, [NARROW])
    total = sum(int(masks[p].sum()) for p in model.head.parameters())
    assert total == model.params(NARROW)['head']


# What a step does


class SlowAdamW:
    """AdamW (arXiv 1711.05101), decaying what it is told."""

    def __init__(self, model: Any, lr: dict, decay: dict) -> None:
        self.parameters = dict(model.named_parameters())
        self.lr, self.decay = lr, decay
        self.m = {n: torch.zeros_like(p) for n, p in self.parameters.items()}
        self.v = {n: torch.zeros_like(p) for n, p in self.parameters.items()}
        self.t = dict.fromkeys(self.parameters, 0)

    @torch.no_grad()
    def step(self, open_: dict[str, Tensor]) -> None:
        for n, p in self.parameters.items():
            if p.grad is None:
                continue
            self.t[n] += 1
            self.m[n] = 0.9 * self.m[n] + 0.1 * p.grad
            self.v[n] = 0.999 * self.v[n] + 0.001 * p.grad**2
            p[open_[n]] -= self.lr[n] * self.decay[n] * p[open_[n]]
            m = self.m[n] / (1 - 0.9 ** self.t[n])
            v = self.v[n] / (1 - 0.999 ** self.t[n])
            # Momentum moves closed weights too.
            p -= self.lr[n] * m / (v.sqrt() + EPS)
            p.grad = None


@pytest.mark.parametrize('num', [1, 2])
@pytest.mark.parametrize('accumulative', [1, 2, 3])
def test_steps_are_those_of_the_slow_twin(num, accumulative):
    steps = 7
    model = model_of(sampler=dict(UNIFORM, num=num))
    stock = copy.deepcopy(model)
    stock.decay_active_only = False
    twin = copy.deepcopy(model)
    names = [name for name, _ in model.named_parameters()]
    lr = {name: LR * (2 if 'head' in name else 1) for name in names}
    decay = {name: DECAY * (0 if 'bias' in name else 1) for name in names}

    def train(model: Any) -> OptimWrapper:
        groups = [
            dict(params=[p], lr=lr[name], weight_decay=decay[name])
            for name, p in model.named_parameters()
        ]
        wrapper = OptimWrapper(
            torch.optim.AdamW(groups, eps=EPS),
            accumulative_counts=accumulative,
        )
        wrapper.initialize_count_status(model, 0, steps)
        for i in range(steps):
            model.train_step(batch_of(i), wrapper)
        return wrapper

    wrapper = train(model)
    after = [group['weight_decay'] for group in wrapper.optimizer.param_groups]
    assert after == list(decay.values())

    slow = SlowAdamW(twin, lr, decay)
    for first in range(0, steps, accumulative):
        numbers = range(first, min(first + accumulative, steps))
        subnets = [s for i in numbers for s in twin.draw_subnets(i)]
        for i in numbers:
            data = batch_of(i)
            labels = [sample.gt_label for sample in data['data_samples']]
            for subnet in twin.draw_subnets(i):
                with twin.backbone.use(subnet):
                    logits = twin.head((twin.backbone(data['inputs'])[-1],))
                loss = F.cross_entropy(logits, torch.cat(labels))
                (loss / len(numbers)).backward()
        slow.step(opened(twin, *subnets))
    assert_same_weights(model, snapshot(twin), atol=1e-11)

    train(stock)
    qkv = 'backbone.layers.0.attn.qkv.weight'
    difference = snapshot(stock)[qkv] - snapshot(model)[qkv]
    assert difference.abs().max() > 0.1


OPTIMIZERS: dict[str, Any] = dict(
    adamw=(torch.optim.AdamW, {}),
    amsgrad=(torch.optim.AdamW, dict(amsgrad=True)),
    foreach=(torch.optim.AdamW, dict(foreach=True)),
    adam=(torch.optim.Adam, dict(decoupled_weight_decay=True)),
    nadam=(torch.optim.NAdam, dict(decoupled_weight_decay=True)),
    radam=(torch.optim.RAdam, dict(decoupled_weight_decay=True)),
)


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_open_weights_are_bit_equal_and_closed_ones_rest(optimizer, dtype):
    """And what happens without the option: the reason for it."""
    steps = 3
    cls, changes = OPTIMIZERS[optimizer]
    start, ends = {}, []
    for active_only in (True, False):
        model = model_of(NARROW, active_only=active_only).to(dtype)
        start = snapshot(model)
        wrapper = adamw(model, cls, **changes)
        for i in range(steps):
            data = batch_of(i)
            data['inputs'] = data['inputs'].to(dtype)
            model.train_step(data, wrapper)
        ends.append(snapshot(model))
    ours, stock = ends
    for name, mask in opened(model, NARROW).items():
        was, now, by_stock = start[name], ours[name], stock[name]
        assert torch.equal(now[mask], by_stock[mask]), name
        assert not torch.equal(now[mask], was[mask]) or not mask.any()
        assert torch.equal(now[~mask], was[~mask]), name
        # The stock optimizer knows parameters only: one that no subnet
        # opened has no gradient and rests, the others decay everywhere.
        share = (1 - LR * DECAY) ** steps if mask.any() else 1.0
        torch.testing.assert_close(by_stock[~mask], was[~mask] * share)


def test_an_open_weight_without_a_gradient_decays():
    """A colour that the images lack leaves no gradient, by chance."""
    model = model_of(NARROW)
    kernel = model.backbone.patch_embed.projection.weight
    before = kernel.detach().clone()
    data = batch_of(0)
    data['inputs'][:, 1] = 0
    model.train_step(data, adamw(model))
    E = NARROW.embed_dims
    expected = before[:E, 1] * (1 - LR * DECAY)
    torch.testing.assert_close(kernel[:E, 1], expected, rtol=0, atol=0)
    assert torch.equal(kernel[E:], before[E:])


def test_with_the_largest_everything_decays():
    ends = []
    largest = SearchSpace.from_config(
        SPACE, num_layers=ARCH['num_layers'], head_dims=4
    ).largest
    for active_only in (True, False):
        model = model_of(NARROW, largest, active_only=active_only)
        wrapper = adamw(model)
        for i in range(3):
            model.train_step(batch_of(i), wrapper)
        ends.append(snapshot(model))
    for name, value in ends[1].items():
        assert torch.equal(ends[0][name], value), name


# Steps that are not taken


class Scaled(OptimWrapper):
    """AmpOptimWrapper wants a GPU; its scaler runs on the CPU too.

    The first step overflows.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scaler = torch.amp.GradScaler('cpu', init_scale=float('inf'))

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        self.scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        self.scaler.step(self.optimizer, **kwargs)
        self.scaler.update(8.0)


@pytest.mark.parametrize('fused', [False, True])
def test_a_step_that_the_scaler_leaves_out_decays_nothing(fused):
    model = model_of(NARROW).float()
    twin = copy.deepcopy(model)
    before = snapshot(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LR, weight_decay=DECAY, fused=fused
    )
    wrapper = Scaled(optimizer)
    data = batch_of(0)
    data['inputs'] = data['inputs'].float()
    model.train_step(data, wrapper)
    assert_same_weights(model, before)
    # And the subnets of that step are forgotten with its gradients.
    assert not model.pending_subnets
    model.train_step(data, wrapper)
    assert [g['weight_decay'] for g in optimizer.param_groups] == [DECAY]
    twin.train_step(data, adamw(twin))
    assert_same_weights(model, snapshot(twin), atol=1e-6)
    assert not torch.equal(
        snapshot(model)['head.fc.bias'], before['head.fc.bias']
    )


class StopError(Exception):
    pass


def test_the_optimizer_is_as_before_after_an_exception():
    model = model_of(NARROW)
    wrapper = adamw(model)

    def fail(*args: Any) -> None:
        raise StopError

    handle = wrapper.optimizer.register_step_pre_hook(fail)
    with pytest.raises(StopError):
        model.train_step(batch_of(0), wrapper)
    handle.remove()
    (group,) = wrapper.optimizer.param_groups
    assert group['weight_decay'] == DECAY
    assert not wrapper.optimizer._optimizer_step_pre_hooks


def test_a_loss_that_is_not_finite_leaves_no_subnet_behind():
    model = model_of(NARROW)
    wrapper = OptimWrapper(
        torch.optim.AdamW(model.parameters()), accumulative_counts=3
    )
    model.train_step(batch_of(0), wrapper)
    assert model.pending_subnets == [NARROW]
    data = batch_of(1)
    data['inputs'] *= float('nan')
    with pytest.raises(FloatingPointError):
        model.train_step(data, wrapper)
    assert not model.pending_subnets


@pytest.mark.parametrize(
    ('cls', 'name'),
    [(torch.optim.SGD, 'SGD'), (torch.optim.Adam, 'Adam')],
)
def test_a_decay_within_the_gradient_is_refused(cls, name):
    model = model_of(NARROW)
    before = snapshot(model)
    with pytest.raises(
        ValueError,
        match=f'decay_active_only: the weight decay of {name} cannot be told',
    ):
        model.train_step(batch_of(0), adamw(model, cls))
    assert_same_weights(model, before)


def test_off_by_default():
    assert not classifier().decay_active_only
    model = model_of(NARROW, active_only=False)
    model.train_step(batch_of(0), adamw(model, torch.optim.SGD))
    assert isinstance(model, ElasticModelMixin)
    assert not model.pending_subnets
