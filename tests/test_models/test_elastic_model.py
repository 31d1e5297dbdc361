"""The training step of a supernet against slow, obvious twins."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.runner.activation_checkpointing import (
    turn_on_activation_checkpointing,
)
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from toys import (
    HEADS,
    assert_same_weights,
    batch_of,
    classifier,
    dense_twin,
    images,
    member,
    options,
    randomise,
    sgd,
    snapshot,
)

from eavit_mm.models import (
    ElasticImageClassifier,
    FrozenDistillation,
    distillation_loss,
    elastic_step,
)
from eavit_mm.models.distillation import hidden_loss
from eavit_mm.space import Subnet, SubnetSampler

pytestmark = pytest.mark.usefixtures('run_seed')
SANDWICH = dict(type='eavit_mm.SandwichSampler', num_others=2)
UNIFORM = dict(type='eavit_mm.UniformSampler', num=3)
DISTIL = dict(type='eavit_mm.InPlaceDistillation')


class ListSampler(SubnetSampler):
    """These subnets, in every step."""

    def __init__(self, subnets: list[Subnet]) -> None:
        self.subnets = subnets

    def draw(self, level: Any, cost: Any, rng: Any) -> list[Subnet]:
        return list(self.subnets)


def with_subnets(model: Any, *subnets: Subnet) -> Any:
    model.sampler = ListSampler(list(subnets))
    return model


def labels_of(data: dict[str, Any]) -> torch.Tensor:
    return torch.cat([sample.gt_label for sample in data['data_samples']])


def plain_logits(model: Any, x: torch.Tensor, subnet: Subnet) -> torch.Tensor:
    with model.backbone.use(subnet):
        return model.head((model.backbone(x)[-1],))


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {
        n: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for n, p in model.named_parameters()
    }


def assert_gradients(
    actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]
) -> None:
    for name, gradient in expected.items():
        torch.testing.assert_close(
            actual[name],
            gradient,
            rtol=1e-10,
            atol=1e-10,
            msg=lambda m, n=name: n + m,
        )


class Recorder(OptimWrapper):
    """Remembers the gradients of each step instead of taking it."""

    def __init__(self, model: Any, **kwargs: Any) -> None:
        super().__init__(torch.optim.SGD(model.parameters(), 0.1), **kwargs)
        self.model = model
        self.steps: list[dict[str, torch.Tensor]] = []

    def step(self, **kwargs: Any) -> None:
        self.steps.append(gradients(self.model))


# One step


def test_gradients_of_the_passes_add_up() -> None:
    subnets = [member(), member(8), member(5, (1, 6, 0), (0, 1, 20))]
    model = with_subnets(classifier(), *subnets)
    twin = copy.deepcopy(model)
    data = batch_of(0)
    expected = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    losses = []
    for subnet in subnets:
        twin.zero_grad()
        logits = plain_logits(twin, data['inputs'], subnet)
        loss = F.cross_entropy(logits, labels_of(data))
        loss.backward()
        losses.append(loss.item())
        for name, gradient in gradients(twin).items():
            expected[name] += gradient
    recorder = Recorder(model)
    logs = model.train_step(data, recorder)
    # K passes, one step of the optimizer, one data batch.
    assert len(recorder.steps) == recorder.inner_count == 1
    assert_gradients(recorder.steps[0], expected)
    assert logs['loss'].item() == pytest.approx(sum(losses))
    share = sum(map(model.backbone.macs, subnets)) / 3 / model.backbone.macs()
    assert logs['macs_ratio'].item() == pytest.approx(share)
    assert model.backbone.subnet is None
    assert all(p.grad is None for p in model.parameters())


def test_gradients_are_those_of_the_dense_network() -> None:
    """The whole chain, preprocessing to loss, without our forward."""
    model = with_subnets(classifier(), member())
    dense = dense_twin(model.backbone, member(), options())
    data = batch_of(3)
    E = member().embed_dims
    weight = model.head.fc.weight.detach()[:, :E].clone().requires_grad_()
    logits = dense(data['inputs'])[-1] @ weight.T + model.head.fc.bias.detach()
    F.cross_entropy(logits, labels_of(data)).backward()
    recorder = Recorder(model)
    model.train_step(data, recorder)
    actual = recorder.steps[0]
    head = actual['head.fc.weight']
    torch.testing.assert_close(head[:, :E], weight.grad, rtol=0, atol=1e-10)
    assert not head[:, E:].any()
    for name, parameter in dense.named_parameters():
        source, part = dense.cuts[name]
        torch.testing.assert_close(
            actual[f'backbone.{source}'][part],
            parameter.grad,
            rtol=0,
            atol=1e-10,
        )


@pytest.mark.parametrize('accumulative', [1, 2, 3])
@pytest.mark.parametrize('first', [0, 6])
@pytest.mark.parametrize('sampler', [SANDWICH, UNIFORM])
@pytest.mark.parametrize('clip', [None, 0.7])
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


def test_without_a_known_end_remainders_wait() -> None:
    model = classifier(sampler=SANDWICH)
    before = snapshot(model)
    wrapper = sgd(model, accumulative_counts=2)
    model.train_step(batch_of(0), wrapper)
    assert_same_weights(model, before)
    model.train_step(batch_of(1), wrapper)
    moved = snapshot(model)
    assert not torch.equal(moved['head.fc.bias'], before['head.fc.bias'])
    model.train_step(batch_of(2), wrapper)
    assert_same_weights(model, moved)


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
    logs = model.train_step(data, sgd(model))
    assert logs['loss'].item() == pytest.approx(sum(losses))
    mean = sum(accuracy) / 3
    assert logs['accuracy_top-1'].item() == pytest.approx(mean)
    assert not any(value.requires_grad for value in logs.values())


# Draws


def test_draws_are_a_function_of_seed_and_iteration() -> None:
    hub = MessageHub.get_current_instance()
    model, other = classifier(sampler=UNIFORM), classifier(sampler=UNIFORM)
    draws = [model.draw_subnets(i) for i in range(30)]
    # Whatever was drawn before, and whatever else is random.
    torch.manual_seed(99)
    again = [other.draw_subnets(i) for i in reversed(range(30))][::-1]
    assert again == draws
    assert len({tuple(drawn) for drawn in draws}) > 25
    assert all(model.backbone.space.contains(s) for d in draws for s in d)
    hub.update_info('seed', 6)
    assert [model.draw_subnets(i) for i in range(30)] != draws
    hub.update_info('seed', 5)
    assert [model.draw_subnets(i) for i in range(30)] == draws


def test_steps_draw_by_data_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    model = classifier(sampler=SANDWICH)
    draw = model.draw_subnets
    monkeypatch.setattr(
        model, 'draw_subnets', lambda i, r: (asked.append(i), draw(i, r))[1]
    )
    wrapper = sgd(model, accumulative_counts=2)
    wrapper.initialize_count_status(model, 4, 100)
    for i in range(3):
        model.train_step(batch_of(i), wrapper)
    assert asked == [4, 5, 6]


@pytest.mark.parametrize('per_rank', [False, True])
def test_ranks(monkeypatch: pytest.MonkeyPatch, per_rank: bool) -> None:
    model = classifier(sampler=UNIFORM, draw_per_rank=per_rank)
    draws = []
    for rank in range(3):
        monkeypatch.setattr(
            'eavit_mm.models.elastic_model.get_rank', lambda r=rank: r
        )
        draws.append(tuple(map(tuple, map(model.draw_subnets, range(5)))))
    assert len(set(draws)) == (3 if per_rank else 1)


def test_default_sampler_draws_from_the_space() -> None:
    model = classifier()
    drawn = [model.draw_subnets(i) for i in range(40)]
    assert all(len(subnets) == 1 for subnets in drawn)
    assert len({subnets[0] for subnets in drawn}) > 30


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

    handle = model.head.register_forward_hook(fail)
    before = snapshot(model)
    with pytest.raises(StopError):
        model.train_step(batch_of(0), wrapper)
    assert calls == [member(), member(8)]
    assert model.backbone.subnet is None
    assert wrapper.inner_count == 0
    assert_same_weights(model, before)
    handle.remove()
    assert not model.head._forward_hooks


def test_no_hook_is_left_after_distillation() -> None:
    model = classifier(sampler=UNIFORM, distillation=DISTIL)
    model.train_step(batch_of(0), sgd(model))
    assert not model.head._forward_hooks
    with_subnets(model, model.backbone.space.largest, member())
    model.train_step(batch_of(0), sgd(model))
    assert not model.head._forward_hooks
    broken = batch_of(0)
    broken['data_samples'] = [object()]
    with pytest.raises(TypeError):
        model.train_step(broken, sgd(model))
    assert not model.head._forward_hooks
    assert model.backbone.subnet is None


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('bad', [0, 1, 2])
def test_loss_that_is_not_finite(value: float, bad: int) -> None:
    # Only the bad subnet reads this head.
    subnets = [member(5, (1, 1, 1), (1, 1, 1)) for _ in range(3)]
    subnets[bad] = member(5, (1, 6, 1), (1, 1, 1))
    model = with_subnets(classifier(), *subnets)
    qkv = model.backbone.layers[1].attn.qkv.weight
    with torch.no_grad():
        qkv[-1, 0] = value
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


# Distillation


def distilled(
    model: Any, subnets: list[Subnet], data: dict[str, Any], **weights: float
) -> tuple[dict[str, torch.Tensor], float, float]:
    """Gradients, loss and its distilled part, computed by hand."""
    labels, x = labels_of(data), data['inputs']
    loss_weight = weights.get('loss_weight', 1.0)
    task_weight = weights.get('task_weight', 1.0)
    T = weights.get('temperature', 1.0)
    largest = model.backbone.space.largest
    with torch.no_grad():
        target = (plain_logits(model, x, largest) / T).softmax(1)
    total = distill = 0.0
    model.zero_grad()
    for number, subnet in enumerate(subnets):
        logits = plain_logits(model, x, subnet)
        loss = F.cross_entropy(logits, labels)
        if number or subnet != largest:
            log_q = (logits / T).log_softmax(1)
            kl = (target * (target.log() - log_q)).sum() / len(x) * T**2
            loss = task_weight * loss + loss_weight * kl
            distill += loss_weight * kl.item()
        total += loss.item()
        loss.backward()
    return gradients(model), total, distill


WEIGHTS = dict(loss_weight=0.7, task_weight=0.3, temperature=2.0)


@pytest.mark.parametrize('head', ['linear', 'vit_hidden', 'stacked'])
@pytest.mark.parametrize('weights', [{}, WEIGHTS, dict(task_weight=0.0)])
@pytest.mark.parametrize('sampler', [SANDWICH, UNIFORM])
def test_distillation_in_place(
    sampler: dict, weights: dict, head: str
) -> None:
    """Of the first pass under the sandwich rule, of one more otherwise."""
    model = classifier(
        head=HEADS[head],
        sampler=sampler,
        distillation={**DISTIL, **weights},
    )
    data = batch_of(1, size=3)
    subnets = model.draw_subnets(0)
    largest = model.backbone.space.largest
    assert (largest in subnets) == (sampler is SANDWICH)
    twin = copy.deepcopy(model)
    expected, _, distill = distilled(twin, subnets, data, **weights)
    recorder = Recorder(model)
    logs = model.train_step(data, recorder)
    assert_gradients(recorder.steps[0], expected)
    assert logs['distill_loss'].item() == pytest.approx(distill)
    assert distill > 0.1


def test_logged_loss_is_what_was_trained() -> None:
    model = classifier(sampler=SANDWICH, distillation=DISTIL)
    data = batch_of(1)
    subnets = model.draw_subnets(0)
    _, total, _ = distilled(copy.deepcopy(model), subnets, data)
    logs = model.train_step(data, sgd(model))
    assert logs['loss'].item() == pytest.approx(total)


def test_distillation_loss_that_is_not_finite() -> None:
    """The student's own loss is finite; the teacher's logits are not."""
    model = with_subnets(classifier(distillation=DISTIL), member())
    with torch.no_grad():
        model.backbone.layers[1].attn.qkv.weight[-1, 0] = float('nan')
    before = snapshot(model)
    with pytest.raises(FloatingPointError, match='the loss is nan for Subnet'):
        model.train_step(batch_of(0), sgd(model))
    after = model.state_dict()
    for name, weight in before.items():
        torch.testing.assert_close(
            after[name], weight, rtol=0, atol=0, equal_nan=True
        )


def test_the_largest_alone_has_no_teacher() -> None:
    sampler = dict(type='eavit_mm.LargestSampler')
    plain = classifier(sampler=sampler)
    model = classifier(sampler=sampler, distillation={**DISTIL, **WEIGHTS})
    recorders = Recorder(plain), Recorder(model)
    plain.train_step(batch_of(0), recorders[0])
    logs = model.train_step(batch_of(0), recorders[1])
    assert_gradients(recorders[1].steps[0], recorders[0].steps[0])
    assert 'distill_loss' not in logs


def test_the_largest_keeps_its_task_loss_wherever_it_is_drawn() -> None:
    """It is the teacher: ``task_weight`` is a student's."""
    distillation = {**DISTIL, 'task_weight': 0.0}
    model = classifier(distillation=distillation)
    largest = model.backbone.space.largest
    found = []
    for subnets in ([largest, member()], [member(), largest]):
        recorder = Recorder(with_subnets(model, *subnets))
        model.train_step(batch_of(0), recorder)
        found.append(recorder.steps[0])
    assert_gradients(found[1], found[0])


def frozen(model: Any, **weights: float) -> Any:
    """Gives a model a teacher that stays as it is; returns the teacher."""
    teacher = copy.deepcopy(model)
    randomise(teacher, 77).double()
    model.distillation = FrozenDistillation(**weights)
    model.distillation.teacher = teacher.requires_grad_(False)
    return teacher


def test_a_frozen_teacher_teaches_the_largest_too() -> None:
    largest = classifier().backbone.space.largest
    subnets = [largest, member()]
    model = with_subnets(classifier(), *subnets)
    twin = copy.deepcopy(model)
    teacher = frozen(model, **WEIGHTS)
    before = snapshot(teacher)
    data = batch_of(0)
    with torch.no_grad():
        target = plain_logits(teacher, data['inputs'], None)
    for subnet in subnets:
        logits = plain_logits(twin, data['inputs'], subnet)
        loss = 0.3 * F.cross_entropy(logits, labels_of(data))
        loss = loss + 0.7 * distillation_loss(logits, target, 2.0)
        loss.backward()
    recorder = Recorder(model)
    model.train_step(data, recorder)
    assert_gradients(recorder.steps[0], gradients(twin))
    assert_same_weights(teacher, before)
    assert all(p.grad is None for p in teacher.parameters())
    # It is no part of the network: not of its checkpoint, nor its optimizer.
    assert model.state_dict().keys() == twin.state_dict().keys()
    assert len(list(model.parameters())) == len(list(twin.parameters()))


@pytest.mark.parametrize('sampler', [SANDWICH, UNIFORM])
def test_hidden_states_are_distilled(sampler: dict) -> None:
    weights = dict(hidden_weight=0.2, loss_weight=0.0)
    model = classifier(sampler=sampler, distillation={**DISTIL, **weights})
    twin = copy.deepcopy(model)
    data = batch_of(1)
    observed = model.distillation.observed
    with torch.no_grad(), observed(twin) as target:
        twin.backbone(data['inputs'])
    error = torch.zeros(()).double()
    for subnet in model.draw_subnets(0):
        with twin.backbone.use(subnet), observed(twin) as hidden:
            logits = twin.head(twin.backbone(data['inputs']))
        loss = F.cross_entropy(logits, labels_of(data))
        if subnet != model.backbone.space.largest:
            part = 0.2 * hidden_loss(hidden, target, subnet)
            loss, error = loss + part, error + part.detach()
        loss.backward()
    recorder = Recorder(model)
    logs = model.train_step(data, recorder)
    assert_gradients(recorder.steps[0], gradients(twin))
    torch.testing.assert_close(logs['hidden_loss'], error)
    assert error > 0.1


def test_distillation_loss_is_the_one_that_is_tested() -> None:
    model = with_subnets(classifier(distillation=DISTIL), member())
    data = batch_of(0)
    with torch.no_grad():
        teacher = plain_logits(model, data['inputs'], None)
        student = plain_logits(model, data['inputs'], member())
    logs = model.train_step(data, sgd(model))
    expected = distillation_loss(student, teacher)
    torch.testing.assert_close(logs['distill_loss'], expected)


# Wrappers, checkpointing, registries


class Wrapped(torch.nn.Module):
    """Stands for a distributed wrapper: counts synchronised passes."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self.synchronised: list[bool] = []
        self.depth = 0

    def no_sync(self) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def context():
            self.depth += 1
            yield
            self.depth -= 1

        return context()

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
    [
        [f'backbone.layers.{i}' for i in range(3)],
        ['backbone'],
    ],
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
        recorder = Recorder(model)
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
    recorder = Recorder(model)
    exact = model.train_step(data, recorder)['loss']
    wrapper = Autocast(torch.optim.SGD(model.parameters(), 0.01))
    loss = model.train_step(data, wrapper)['loss']
    assert loss.item() == pytest.approx(exact.item(), rel=3e-2)
    assert loss.item() != exact.item()


def test_classifier_from_the_registry() -> None:
    model = classifier()
    assert type(model) is ElasticImageClassifier
    assert isinstance(model, ImageClassifier)
    assert model.logits_module is model.head
    assert list(model.consumers) == ['head']
    assert model.macs()['total'] == sum(
        v for k, v in model.macs().items() if k != 'total'
    )


def test_classifier_of_stock_types() -> None:
    """A stock config with two types exchanged, preprocessor included."""
    model = MODELS.build(
        dict(
            type='eavit_mm.ElasticImageClassifier',
            data_preprocessor=dict(mean=[1, 2, 3], std=[4, 5, 6]),
            train_cfg=dict(augments=dict(type='Mixup', alpha=0.8)),
            backbone=dict(
                type='eavit_mm.ElasticVisionTransformer', **options()
            ),
            head=dict(
                type='LinearClsHead',
                num_classes=9,
                in_channels=24,
                loss=dict(type='CrossEntropyLoss', use_soft=True),
            ),
        )
    )
    data = batch_of(0)
    for sample in data['data_samples']:
        sample.set_gt_score(torch.full((9,), 1 / 9))
    assert model.train_step(data, sgd(model))['loss'].isfinite()
    with torch.no_grad():
        predictions = model.val_step(dict(inputs=images()))
    assert predictions[0].pred_score.shape == (9,)


def test_images_of_another_number_of_channels() -> None:
    for numbers in ([1], [1, 2, 3]):
        classifier(data_preprocessor=dict(mean=numbers, std=numbers))
    with pytest.raises(
        ValueError,
        match=r'data_preprocessor: std=\[4, 5\]; must be .* in_channels=3 of',
    ):
        classifier(data_preprocessor=dict(mean=[1, 2, 3], std=[4, 5]))


def test_evaluation_follows_the_active_subnet() -> None:
    model = classifier()
    model.eval()
    data = batch_of(0)
    expected = dense_twin(model.backbone, member(), options())
    with torch.no_grad():
        features = expected(data['inputs'])[-1]
        weight = model.head.fc.weight[:, : member().embed_dims]
        scores = (features @ weight.T + model.head.fc.bias).softmax(1)
        for manner in (model.backbone.use, model.backbone.frozen):
            with manner(member()):
                samples = model.test_step(data)
            for sample, score in zip(samples, scores, strict=True):
                torch.testing.assert_close(sample.pred_score, score)
