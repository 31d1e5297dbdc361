"""What subnets learn from a teacher: the losses, and steps with them."""

import copy
from dataclasses import replace
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
    with_subnets,
)
from toys import (
    ARCH,
    HEADS,
    SCALA,
    SPACE,
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
    ProgressiveDistillation,
    distillation_loss,
)
from eavit_mm.models.distillation import Outputs, hidden_loss, watch
from eavit_mm.space import Subnet

pytestmark = pytest.mark.usefixtures('run_seed')
WEIGHTS = dict(loss_weight=0.7, task_weight=0.3, temperature=2.0)


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(shape, generator=rng).double()


def divergence(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float
) -> torch.Tensor:
    """From the teacher's to the student's distribution, by its definition."""
    p, q = ((x / temperature).softmax(1) for x in (teacher, student))
    return (p * (p / q).log()).sum(1).mean() * temperature**2


@pytest.mark.parametrize('temperature', [0.5, 1.0, 4.0])
@pytest.mark.parametrize('shape', [(4, 7), (2, 5, 3, 4)])
def test_loss_is_the_divergence(shape: Any, temperature: float) -> None:
    """Classes on axis 1, the mean over images and places."""
    student, teacher = logits(*shape), logits(*shape, seed=1)
    student.requires_grad_(), teacher.requires_grad_()
    loss = distillation_loss(student, teacher, temperature)
    expected = divergence(student, teacher.detach(), temperature)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        torch.autograd.grad(loss, [student, teacher], allow_unused=True),
        (torch.autograd.grad(expected, student)[0], None),
    )
    same = distillation_loss(student, student.detach(), temperature)
    assert same.item() == pytest.approx(0, abs=1e-12)
    # At 1 it has the gradient of the soft cross-entropy (DynaBERT's).
    loss = distillation_loss(student, teacher)
    soft = F.cross_entropy(student, teacher.softmax(1).detach())
    both = [torch.autograd.grad(each, student)[0] for each in (loss, soft)]
    torch.testing.assert_close(*both)


def test_one_class_is_a_sigmoids() -> None:
    student, teacher = logits(2, 1, 3, 4), logits(2, 1, 3, 4, seed=1)
    both = [torch.cat((x, 0 * x), dim=1) for x in (student, teacher)]
    loss = distillation_loss(student, teacher, 2.0)
    torch.testing.assert_close(loss, divergence(*both, 2.0))
    assert loss > 0.1


class WatchedViT(DenseViT):
    """Lists the embedding's output, then the stream behind each layer."""

    def _embed(self, *args: Any) -> Any:
        x, grid = super()._embed(*args)
        self.states = {-1: x}
        return x, grid

    def see(self, place: tuple[str, int], x: torch.Tensor) -> torch.Tensor:
        if place[0] == 'state':
            self.states[place[1]] = x
        return x

    def states_of(self, x: torch.Tensor) -> list[torch.Tensor]:
        self(x)
        return list(self.states.values())


DEEP = dict(arch=dict(ARCH, num_layers=4), space=dict(SPACE, max_off=8))
SUFFIX = replace(member(5, (1, 2, 6, 0), (0, 7, 20, 1)), side='suffix')
# DynaBERT keeps of four layers 0, 1, 2 or 0, 2; its states learn from the
# teacher's of these indices (0: the embedding's output), the last from the
# last.
KEPT = {0.75: [0, 1, 2, 4], 0.5: [0, 2, 4], 1.0: [0, 1, 2, 3, 4]}


@pytest.mark.parametrize(
    ('subnet', 'taught_by'),
    [
        (member(14, (2, 0, 4, 1), (12, 7, 0, 1)), KEPT[1.0]),
        (member(5, (0, 0, 6, 0), (0, 7, 20, 0)), [1, 2, 4]),
        (SUFFIX, KEPT[1.0]),
        *((dict(widths=0.5, depth=depth), at) for depth, at in KEPT.items()),
        ('largest', KEPT[1.0]),
    ],
)
def test_hidden_loss_is_that_of_dense_networks(
    subnet: Any, taught_by: list[int]
) -> None:
    """States and gradients, from the dense twins of both networks."""
    space = dict(DEEP['space'], suffix_smallest=subnet == SUFFIX)
    model = classifier(backbone=dict(DEEP, space=space))
    backbone, x = model.backbone, images().double()
    subnet = backbone.space.resolve(subnet)
    distillation = InPlaceDistillation(hidden_weight=1.0)
    found = []
    for each in (subnet, None):
        with backbone.use(each):
            _, hidden = distillation.observe(model, lambda: backbone(x))
        found.append(hidden)
    loss = hidden_loss(*found, subnet)
    cfg = options(arch=DEEP['arch'])
    dense, teacher = (
        WatchedViT(dict(backbone.named_parameters()), each, cfg)
        for each in (subnet, backbone.space.largest)
    )
    target, width = teacher.states_of(x), subnet.embed_dims
    E = slice(-width, None) if subnet == SUFFIX else slice(width)
    expected = sum(
        (state - target[i].detach()[..., E]).square().mean()
        for i, state in zip(taught_by, dense.states_of(x), strict=True)
    )
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
    states = [torch.zeros(2, 5, 14)] * 4
    wide = [torch.zeros(2, 6, 24)] * 4
    with pytest.raises(ValueError, match='hidden states number 0: shape'):
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
    outputs = [Outputs(x, []) for x in (student, teacher)]
    out = distillation(losses, *outputs, member())
    assert losses == before
    assert {k: v.item() for k, v in out.items()} == pytest.approx(
        dict(
            loss=0.5,
            aux_loss=1.0,
            accuracy=50.0,
            distill_loss=0.3 * divergence(student, teacher, 2.0).item(),
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
        (ProgressiveDistillation, dict(task_weight='0'), "task_weight='0'; m"),
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
    assert [[x.tolist() for x in call] for call in seen] == [
        [[0, 0], [1, 1]],
        [[1, 1], [2, 2]],
    ]
    assert vars(head) == before


# Steps


LARGEST = dict(type='eavit_mm.LargestSampler')
HIDDEN = dict(hidden_weight=0.2, loss_weight=0.0)
STABLE = dict(type='eavit_mm.StableSampler')
PROGRESSIVE = dict(type='eavit_mm.ProgressiveDistillation')
WHOLE = member(24, (6, 6, 6), (20, 20, 20))


def by_hand(
    model: Any, teacher: Any, subnets: list[Subnet], data: dict[str, Any]
) -> tuple[float, dict[str, float]]:
    """Trains with the subnets; what they lost, and learnt from a teacher."""
    x, weights = data['inputs'], model.distillation

    def show(network: Any, subnet: Subnet | None) -> tuple[Any, Any]:
        with network.backbone.use(subnet):
            return weights.observe(
                network, lambda: network.head(network.backbone(x))
            )

    total, learnt = 0.0, dict(distill_loss=0.0, hidden_loss=0.0)
    with torch.no_grad():
        target, states = show(teacher, None)
    # The largest comes first; its own teacher loses as without one.
    largest = model.backbone.space.largest
    hands_on = isinstance(weights, ProgressiveDistillation)
    order = {s: -s.embed_dims if hands_on else s != largest for s in subnets}
    for number, subnet in enumerate(sorted(subnets, key=order.get)):
        logits, hidden = show(model, subnet)
        loss = F.cross_entropy(logits, labels_of(data))
        if number or subnet != largest or teacher is not model:
            T = weights.temperature
            parts = dict(
                distill_loss=weights.loss_weight
                * divergence(logits, target, T)
            )
            if weights.hidden_weight:
                error = hidden_loss(hidden, states, subnet)
                parts['hidden_loss'] = weights.hidden_weight * error
            loss = weights.task_weight * loss + sum(parts.values())
            learnt |= {k: learnt[k] + v.item() for k, v in parts.items()}
        total += loss.item()
        loss.backward()
        if hands_on:
            target = logits.detach()
    return total, learnt


@pytest.mark.parametrize('is_frozen', [False, True])
@pytest.mark.parametrize(
    ('sampler', 'weights', 'head'),
    [
        (SANDWICH, {}, 'linear'),
        (SANDWICH, WEIGHTS, 'vit_hidden'),
        (UNIFORM, WEIGHTS, 'stacked'),
        (UNIFORM, dict(task_weight=0.0), 'linear'),
        ([member(), WHOLE], dict(task_weight=0.0), 'linear'),
        (LARGEST, WEIGHTS, 'linear'),
        (SANDWICH, HIDDEN, 'linear'),
        (UNIFORM, HIDDEN, 'linear'),
        (STABLE, PROGRESSIVE, 'linear'),
        (STABLE, dict(PROGRESSIVE, task_weight=0.0), 'stacked'),
        # Not in their order, and without the largest.
        ([0.5, 0.25, 0.75], PROGRESSIVE, 'linear'),
    ],
)
def test_steps_with_a_teacher(
    sampler: Any, weights: dict, head: str, is_frozen: bool
) -> None:
    """In place: the first pass of the largest teaches, else one more.

    A frozen teacher, with weights of its own, teaches the largest as well.
    """
    drawn = sampler if isinstance(sampler, dict) else LARGEST
    distillation = {**DISTIL, **weights}
    kind = distillation.pop('type')
    space = dict(space=SPACE if kind == DISTIL['type'] else SCALA)
    model = classifier(
        HEADS[head],
        space,
        distillation=dict(distillation, type=kind),
        sampler=drawn,
    )
    if drawn is not sampler:
        resolve = model.backbone.space.resolve
        with_subnets(model, *map(resolve, sampler))
    twin = copy.deepcopy(model)
    teacher = twin
    if is_frozen:
        teacher = randomise(copy.deepcopy(model), 77).double()
        frozen = FrozenDistillation(**distillation)
        frozen.teacher = teacher.requires_grad_(False)
        model.distillation = twin.distillation = frozen
    before = snapshot(teacher)
    data, subnets = batch_of(1, size=3), model.draw_subnets(0)
    recorder = GradientRecorder(model)
    logs = model.train_step(data, recorder)
    assert_same_weights(teacher, before)
    # It is no part of the network: not of its checkpoint, nor its optimizer.
    assert model.state_dict().keys() == twin.state_dict().keys()
    total, learnt = by_hand(twin, teacher, subnets, data)
    assert_gradients(recorder.steps[0], gradients(twin))
    # The logged loss is what was trained.
    assert logs['loss'].item() == pytest.approx(total)
    for name, value in learnt.items():
        assert logs.get(name, torch.zeros(())).item() == pytest.approx(value)
    teaches = is_frozen or sampler is not LARGEST
    assert (sum(learnt.values()) > 0.1) == teaches
    assert ('distill_loss' in logs) == teaches


def test_nothing_is_left_of_a_step_that_fails() -> None:
    model = classifier(sampler=UNIFORM, distillation=DISTIL)
    broken = dict(batch_of(0), data_samples=[object()])
    with pytest.raises(TypeError):
        model.train_step(broken, sgd(model))
    assert 'forward' not in vars(model.head)
    assert model.backbone.subnet is None
