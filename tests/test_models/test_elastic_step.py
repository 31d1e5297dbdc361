"""The training step of a supernet against slow, obvious twins."""

import copy
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from mmengine.runner.activation_checkpointing import (
    turn_on_activation_checkpointing,
)
from mmpretrain.models import ImageClassifier
from steps import (
    DISTIL,
    SANDWICH,
    UNIFORM,
    GradientRecorder,
    assert_gradients,
    labels_of,
    plain_logits,
    with_subnets,
)
from toys import (
    HEADS,
    assert_same_weights,
    batch_of,
    classifier,
    member,
    options,
    sgd,
    snapshot,
)

from eavit_mm.models import elastic_step

pytestmark = pytest.mark.usefixtures('run_seed')


# One step


@pytest.mark.parametrize(
    ('accumulative', 'first', 'sampler', 'clip'),
    [
        (1, 0, SANDWICH, None),
        (2, 6, UNIFORM, 0.7),
        (3, 0, UNIFORM, None),
        (3, 6, SANDWICH, 0.7),
    ],
)
def test_steps_are_those_of_the_slow_twin(
    accumulative: int, first: int, sampler: dict, clip: float | None
) -> None:
    """Data batches are counted, and the last ones are a remainder."""
    steps = 5
    model = classifier(sampler=sampler)
    twin = copy.deepcopy(model)
    wrapper = sgd(
        model,
        accumulative_counts=accumulative,
        clip_grad=clip and dict(max_norm=clip),
    )
    wrapper.initialize_count_status(model, first, first + steps)
    for i in range(first, first + steps):
        model.train_step(batch_of(i), wrapper)
    assert wrapper.inner_count == first + steps

    optimizer = torch.optim.SGD(twin.parameters(), lr=0.02, momentum=0.9)
    before = snapshot(twin)
    updates = 0
    group: list[int] = []
    for i in range(first, first + steps):
        group.append(i)
        if len(group) < accumulative and i < first + steps - 1:
            continue
        for number in group:
            data = batch_of(number)
            for subnet in twin.draw_subnets(number):
                logits = plain_logits(twin, data['inputs'], subnet)
                loss = F.cross_entropy(logits, labels_of(data))
                (loss / len(group)).backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(twin.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
        updates += 1
        group = []
    assert updates == -(-steps // accumulative)
    assert_same_weights(model, snapshot(twin), atol=1e-11)
    changed = snapshot(model)
    assert any(not torch.equal(changed[n], before[n]) for n in before)


def test_the_stock_step_if_only_the_largest_is_trained() -> None:
    model = classifier(sampler=dict(type='eavit_mm.LargestSampler'))
    backbone = dict(type='VisionTransformer', **options())
    head = dict(type='LinearClsHead', num_classes=9, in_channels=24)
    stock = ImageClassifier(
        backbone, head=head, data_preprocessor=model.data_preprocessor
    ).double()
    stock.load_state_dict(model.state_dict(), strict=True)
    wrappers = sgd(model), sgd(stock)
    for i in range(3):
        logs = model.train_step(batch_of(i), wrappers[0])
        expected = stock.train_step(batch_of(i), wrappers[1])
        assert logs['loss'].item() == pytest.approx(expected['loss'].item())
        assert logs['macs_ratio'] == 1
    assert_same_weights(model, snapshot(stock), atol=1e-12)


def test_losses_are_summed_and_metrics_averaged() -> None:
    head = dict(HEADS['linear'], cal_acc=True, topk=(1,))
    subnets = [member(), member(8), member(5)]
    model = with_subnets(classifier(head=head), *subnets)
    data = batch_of(0, size=6)
    accuracy, losses = [], []
    for subnet in subnets:
        logits = plain_logits(model, data['inputs'], subnet)
        hits = logits.argmax(1) == labels_of(data)
        accuracy.append(100 * hits.double().mean().item())
        losses.append(F.cross_entropy(logits, labels_of(data)).item())
    assert len(set(losses)) == 3
    recorder = GradientRecorder(model)
    logs = model.train_step(data, recorder)
    # K passes, one step of the optimizer, one data batch.
    assert len(recorder.steps) == recorder.inner_count == 1
    assert model.backbone.subnet is None
    assert logs['loss'].item() == pytest.approx(sum(losses))
    share = sum(map(model.backbone.macs, subnets)) / 3 / model.backbone.macs()
    assert logs['macs_ratio'].item() == pytest.approx(share)
    mean = sum(accuracy) / 3
    assert logs['accuracy_top-1'].item() == pytest.approx(mean)
    assert not any(value.requires_grad for value in logs.values())


@pytest.mark.parametrize('same', [False, True])
def test_passes_of_a_step_drop_the_same_paths(same: bool) -> None:
    """And what comes behind the step is what one pass leaves."""
    model = classifier(backbone=dict(drop_path_rate=0.5), same_dropout=same)
    data, before = batch_of(0, size=8), torch.get_rng_state()
    subnets = [member(), member(8, (1, 1, 1), (1, 1, 1)), member(8)]
    alone, behind = [], torch.Tensor()
    for subnet in subnets:
        if same:
            torch.set_rng_state(before)
        with model.backbone.use(subnet):
            logits = model.head(model.backbone(data['inputs']))
        alone.append(F.cross_entropy(logits, labels_of(data)).item())
        behind = torch.get_rng_state()
    torch.set_rng_state(before)
    logs = with_subnets(model, *subnets).train_step(data, sgd(model))
    assert logs['loss'].item() == pytest.approx(sum(alone))
    assert torch.equal(torch.get_rng_state(), behind)
    assert not torch.equal(before, behind)


# What goes wrong


class StopError(Exception):
    pass


def test_subnet_is_none_after_an_exception() -> None:
    model = with_subnets(classifier(), member(), member(8))
    wrapper = sgd(model)
    calls = []

    def fail(module: Any, inputs: Any, output: Any) -> None:
        calls.append(model.backbone.subnet)
        if len(calls) == 2:
            raise StopError

    model.head.register_forward_hook(fail)
    before = snapshot(model)
    with pytest.raises(StopError):
        model.train_step(batch_of(0), wrapper)
    assert calls == [member(), member(8)]
    assert model.backbone.subnet is None
    assert wrapper.inner_count == 0
    assert_same_weights(model, before)


@pytest.mark.parametrize('bad', [0, 1, 2])
def test_loss_that_is_not_finite(bad: int) -> None:
    # Only the bad subnet reads this head.
    subnets = [member(5, (1, 1, 1), (1, 1, 1)) for _ in range(3)]
    subnets[bad] = member(5, (1, 6, 1), (1, 1, 1))
    model = with_subnets(classifier(), *subnets)
    qkv = model.backbone.layers[1].attn.qkv.weight
    with torch.no_grad():
        qkv[-1, 0] = float('inf')
    before = snapshot(model)
    wrapper = sgd(model)
    with pytest.raises(FloatingPointError) as caught:
        model.train_step(batch_of(0), wrapper)
    words = str(caught.value)
    assert 'the loss is nan for' in words
    assert str(subnets[bad]) in words
    assert str(subnets[bad - 1]) not in words
    assert model.backbone.subnet is None
    after = model.state_dict()
    for name, weight in before.items():
        torch.testing.assert_close(
            after[name], weight, rtol=0, atol=0, equal_nan=True
        )


# Wrappers, checkpointing, fewer bits


class Wrapped(torch.nn.Module):
    """Stands for a distributed wrapper: counts synchronised passes."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self.synchronised: list[bool] = []
        self.depth = 0

    @contextmanager
    def no_sync(self) -> Any:
        self.depth += 1
        yield
        self.depth -= 1

    def _run_forward(self, data: Any, mode: str) -> Any:
        self.synchronised.append(self.depth == 0)
        return self.module._run_forward(data, mode)


@pytest.mark.parametrize('accumulative', [1, 2])
def test_only_the_last_pass_synchronises(accumulative: int) -> None:
    model = classifier(sampler=SANDWICH)
    wrapped = Wrapped(model)
    wrapper = sgd(model, accumulative_counts=accumulative)
    for i in range(2):
        elastic_step(model, wrapped, batch_of(i), wrapper)
    last = [False, False, False, True]
    quiet = [False] * 4
    expected = last + last if accumulative == 1 else quiet + last
    assert wrapped.synchronised == expected


@pytest.mark.parametrize(
    'modules',
    [[f'backbone.layers.{i}' for i in range(3)], ['backbone']],
    ids=['layers', 'backbone'],
)
def test_activation_checkpointing(modules: list[str]) -> None:
    """What is recomputed in the backward pass is the same subnet."""
    steps = []
    for names in ([], modules):
        model = with_subnets(classifier(), member(), member(8))
        if names:
            turn_on_activation_checkpointing(model, names)
        data = batch_of(0)
        # Reentrant checkpoints need an input with a gradient.
        data['inputs'].requires_grad_()
        recorder = GradientRecorder(model)
        model.train_step(data, recorder)
        steps.append(recorder.steps[0])
    assert_gradients(steps[1], steps[0])


class Autocast(OptimWrapper):
    """AmpOptimWrapper wants a GPU; bf16 needs no scaling."""

    def optim_context(self, model: Any) -> Any:
        return torch.autocast('cpu', torch.bfloat16)


@pytest.mark.parametrize('distillation', [None, DISTIL])
def test_autocast(distillation: dict | None) -> None:
    model = classifier(sampler=SANDWICH, distillation=distillation).float()
    data = batch_of(0)
    data['inputs'] = data['inputs'].float()
    recorder = GradientRecorder(model)
    exact = model.train_step(data, recorder)['loss']
    wrapper = Autocast(torch.optim.SGD(model.parameters(), 0.01))
    loss = model.train_step(data, wrapper)['loss']
    assert loss.item() == pytest.approx(exact.item(), rel=3e-2)
    assert loss.item() != exact.item()
