"""What subnets learn from a teacher: the losses, and steps with them."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from dense import DenseViT
from steps import (
    DISTIL,
    SANDWICH,
    UNIFORM,
    GradientRecorder,
    assert_gradients,
    gradients,
    labels_of,
    plain_logits,
    with_subnets,
)
from toys import (
    HEADS,
    assert_same_weights,
    batch_of,
    classifier,
    images,
    member,
    options,
    randomise,
    sgd,
    snapshot,
)

from eavit_mm.models import (
    FrozenDistillation,
    InPlaceDistillation,
    distillation_loss,
)
from eavit_mm.models.distillation import Outputs, hidden_loss, watch
from eavit_mm.space import Subnet

pytestmark = pytest.mark.usefixtures('run_seed')
WEIGHTS = dict(loss_weight=0.7, task_weight=0.3, temperature=2.0)


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(shape, generator=rng).double()


def by_hand(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float
) -> float:
    """The same sum, one logarithm at a time; (M, classes)."""
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p = [math.exp(x / temperature) for x in t]
        q = [math.exp(x / temperature) for x in s]
        for a, b in zip(p, q, strict=True):
            a, b = a / sum(p), b / sum(q)
            total += a * math.log(a / b)
    return total / len(student) * temperature**2


@pytest.mark.parametrize('temperature', [0.5, 1.0, 4.0])
def test_loss_is_the_divergence(temperature: float) -> None:
    student, teacher = logits(4, 7), logits(4, 7, seed=1)
    loss = distillation_loss(student, teacher, temperature)
    expected = by_hand(student, teacher, temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    # From the teacher to the student, not the other way round.
    assert loss.item() != pytest.approx(
        by_hand(teacher, student, temperature), rel=1e-3
    )


def test_dense_logits() -> None:
    """Classes on axis 1, the mean over images and places."""
    student, teacher = logits(2, 5, 3, 4), logits(2, 5, 3, 4, seed=1)
    loss = distillation_loss(student, teacher, 2.0)
    flat = [x.permute(0, 2, 3, 1).reshape(-1, 5) for x in (student, teacher)]
    assert loss.item() == pytest.approx(by_hand(*flat, 2.0), rel=1e-12)


def test_gradient_reaches_the_student_alone() -> None:
    student = logits(4, 7).requires_grad_()
    teacher = logits(4, 7, seed=1).requires_grad_()
    distillation_loss(student, teacher, 2.0).backward()
    assert teacher.grad is None
    p, q = (x.detach().div(2.0).softmax(1) for x in (teacher, student))
    # d KL / d logits = (q - p) / T, times T^2.
    torch.testing.assert_close(student.grad, 2.0 * (q - p) / 4)
    same = logits(4, 7).requires_grad_()
    loss = distillation_loss(same, same)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert same.grad.abs().max() < 1e-12


class WatchedViT(DenseViT):
    """Keeps the residual stream behind each layer that it has."""

    def see(self, place: tuple[str, int], x: torch.Tensor) -> torch.Tensor:
        if place[0] == 'state':
            self.states[place[1]] = x
        return x

    def states_of(self, x: torch.Tensor) -> dict[int, torch.Tensor]:
        self.states: dict[int, torch.Tensor] = {}
        self(x)
        return self.states


@pytest.mark.parametrize(
    'subnet',
    [
        member(),
        member(5, (0, 0, 6), (0, 7, 20)),  # layer 0 has no state of its own
        member(24, (6, 6, 6), (20, 20, 20)),
    ],
)
def test_hidden_loss_is_that_of_dense_networks(subnet: Any) -> None:
    """States and gradients, from the dense twins of both networks."""
    model = classifier()
    backbone, x = model.backbone, images().double()
    distillation = InPlaceDistillation(hidden_weight=1.0)
    found = []
    for each in (subnet, None):
        with backbone.use(each):
            _, hidden = distillation.observe(model, lambda: backbone(x))
        found.append(hidden)
    loss = hidden_loss(*found, subnet)
    dense, teacher = (
        WatchedViT(dict(backbone.named_parameters()), each, options())
        for each in (subnet, backbone.space.largest)
    )
    student, target = dense.states_of(x), teacher.states_of(x)
    errors = [
        (state - target[i].detach()[..., : subnet.embed_dims]).square().mean()
        for i, state in student.items()
    ]
    assert len(errors) == sum(
        bool(h or f)
        for h, f in zip(
            subnet.num_heads, subnet.feedforward_channels, strict=True
        )
    )
    expected = sum(errors)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    if subnet == backbone.space.largest:
        assert loss.item() == 0
        return
    loss.backward()
    expected.backward()
    assert_gradients(gradients(backbone), gradients(dense))
    assert not [m for m in model.modules() if 'forward' in vars(m)]


def test_shapes_that_differ() -> None:
    with pytest.raises(ValueError, match=r'logits: shape \(4, 7\) of the st'):
        distillation_loss(logits(4, 7), logits(4, 6))
    states = {i: torch.zeros(2, 5, 14) for i in range(3)}
    wide = {i: torch.zeros(2, 6, 24) for i in range(3)}
    with pytest.raises(ValueError, match='hidden states of layer 0: shape'):
        hidden_loss(states, wide, member())


def test_losses_of_a_student() -> None:
    student, teacher = logits(4, 7), logits(4, 7, seed=1)
    distillation = InPlaceDistillation(
        loss_weight=0.3, task_weight=0.25, temperature=2.0
    )
    losses = dict(
        loss=torch.tensor(2.0),
        aux_loss=torch.tensor(4.0),
        accuracy=torch.tensor(50.0),
    )
    before = dict(losses)
    outputs = [Outputs(x, {}) for x in (student, teacher)]
    out = distillation(losses, *outputs, member())
    assert losses == before
    assert {k: v.item() for k, v in out.items()} == pytest.approx(
        dict(
            loss=0.5,
            aux_loss=1.0,
            accuracy=50.0,
            distill_loss=0.3 * by_hand(student, teacher, 2.0),
        )
    )


@pytest.mark.parametrize(
    'model',
    [
        dict(init_cfg=dict(type='Pretrained', checkpoint='a.pth')),
        dict(pretrained='a.pth'),
    ],
)
def test_a_frozen_teacher_brings_its_weights(model: dict) -> None:
    assert FrozenDistillation(model=model).model == model


@pytest.mark.parametrize(
    ('kind', 'options', 'words'),
    [
        (InPlaceDistillation, dict(loss_weight=-1), 'loss_weight=-1; must be'),
        (InPlaceDistillation, dict(temperature=0), 'must be positive'),
        (FrozenDistillation, dict(checkpoint=5), 'must be a path or None$'),
        (FrozenDistillation, dict(model='resnet'), "^model='resnet'; must be"),
        (FrozenDistillation, dict(model={}), 'random weights; give checkpoi'),
        (
            FrozenDistillation,
            dict(model=dict(init_cfg=dict(type='Normal', layer='Conv2d'))),
            "init_cfg={'type': 'Normal'.*random weights",
        ),
    ],
)
def test_refused(kind: Any, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kind(**options)


class SelfCaller(torch.nn.Module):
    """Calls its own forward as mmseg's decode heads do: hooks miss it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward(x).sum()


@pytest.mark.parametrize('patched', [False, True])
def test_a_forward_is_watched_however_it_is_called(patched: bool) -> None:
    head = SelfCaller()
    if patched:  # as activation checkpointing does
        head.forward = lambda x: SelfCaller.forward(head, x)
    before = dict(vars(head))
    with watch(head) as seen:
        head.loss(torch.zeros(2))
        head(torch.ones(2))
    assert [x.tolist() for x in seen] == [[1, 1], [2, 2]]
    assert vars(head) == before


# Steps


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


@pytest.mark.parametrize(
    ('sampler', 'weights', 'head'),
    [
        (SANDWICH, {}, 'linear'),
        (SANDWICH, WEIGHTS, 'vit_hidden'),
        (UNIFORM, WEIGHTS, 'stacked'),
        (UNIFORM, dict(task_weight=0.0), 'linear'),
    ],
)
def test_distillation_in_place(
    sampler: dict, weights: dict, head: str
) -> None:
    """The first pass teaches under the sandwich rule, else one more."""
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
    expected, total, distill = distilled(twin, subnets, data, **weights)
    recorder = GradientRecorder(model)
    logs = model.train_step(data, recorder)
    assert_gradients(recorder.steps[0], expected)
    assert logs['distill_loss'].item() == pytest.approx(distill)
    # The logged loss is what was trained.
    assert logs['loss'].item() == pytest.approx(total)
    assert distill > 0.1


def test_the_largest_alone_has_no_teacher() -> None:
    sampler = dict(type='eavit_mm.LargestSampler')
    plain = classifier(sampler=sampler)
    model = classifier(sampler=sampler, distillation={**DISTIL, **WEIGHTS})
    recorders = GradientRecorder(plain), GradientRecorder(model)
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
        recorder = GradientRecorder(with_subnets(model, *subnets))
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
    recorder = GradientRecorder(model)
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
    observe = model.distillation.observe

    def run() -> Any:
        return twin.head(twin.backbone(data['inputs']))

    with torch.no_grad():
        _, target = observe(twin, run)
    error = torch.zeros(()).double()
    for subnet in model.draw_subnets(0):
        with twin.backbone.use(subnet):
            logits, hidden = observe(twin, run)
        loss = F.cross_entropy(logits, labels_of(data))
        if subnet != model.backbone.space.largest:
            part = 0.2 * hidden_loss(hidden, target, subnet)
            loss, error = loss + part, error + part.detach()
        loss.backward()
    recorder = GradientRecorder(model)
    logs = model.train_step(data, recorder)
    assert_gradients(recorder.steps[0], gradients(twin))
    torch.testing.assert_close(logs['hidden_loss'], error)
    assert error > 0.1


def test_no_hook_is_left_after_distillation() -> None:
    model = classifier(sampler=UNIFORM, distillation=DISTIL)
    model.train_step(batch_of(0), sgd(model))
    assert 'forward' not in vars(model.head)
    broken = batch_of(0)
    broken['data_samples'] = [object()]
    with pytest.raises(TypeError):
        model.train_step(broken, sgd(model))
    assert 'forward' not in vars(model.head)
    assert model.backbone.subnet is None
