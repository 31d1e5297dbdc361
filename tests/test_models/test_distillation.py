"""The loss between two subnets."""

import math
from typing import Any

import pytest
import torch
from toys import classifier, dense_twin, images, member, options

from eavit_mm.models import (
    FrozenDistillation,
    InPlaceDistillation,
    distillation_loss,
)
from eavit_mm.models.distillation import Outputs, hidden_loss


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


def test_large_logits_stay_finite() -> None:
    loss = distillation_loss(1e4 * logits(2, 3), -1e4 * logits(2, 3))
    assert loss.isfinite()


def states_of(dense: Any, x: torch.Tensor) -> dict[int, torch.Tensor]:
    """Residual stream behind each layer that the dense network has."""
    states: dict[int, torch.Tensor] = {}
    for i, branches in enumerate(dense.layers):
        for branch in branches.values():
            branch.register_forward_hook(
                lambda module, inputs, output, i=i: states.update({i: output})
            )
    dense(x)
    return states


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
        with backbone.use(each), distillation.observed(model) as hidden:
            backbone(x)
        found.append(hidden)
    loss = hidden_loss(*found, subnet)
    dense, teacher = (
        dense_twin(backbone, each, options())
        for each in (subnet, backbone.space.largest)
    )
    student, target = states_of(dense, x), states_of(teacher, x)
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
    width = subnet.embed_dims
    torch.testing.assert_close(
        backbone.pos_embed.grad[..., :width], dense.position.grad
    )
    assert not backbone.pos_embed.grad[..., width:].any()
    assert not [m for m in model.modules() if m._forward_hooks]


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
    ('options', 'words'),
    [
        (dict(loss_weight=-1), 'loss_weight=-1; must be at least 0'),
        (dict(task_weight=-0.5), 'task_weight=-0.5; must be at least 0'),
        (dict(hidden_weight=-2), 'hidden_weight=-2; must be at least 0'),
        (dict(temperature=0), 'temperature=0; must be positive'),
    ],
)
def test_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        InPlaceDistillation(**options)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(checkpoint=5), '^checkpoint=5; must be a path or None$'),
        (dict(model='resnet'), "^model='resnet'; must be a dict"),
        (dict(model={}), 'random weights; give checkpoint=FILE'),
        (
            dict(model=dict(init_cfg=dict(type='Normal', layer='Conv2d'))),
            "init_cfg={'type': 'Normal'.*random weights",
        ),
    ],
)
def test_a_frozen_teacher_is_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FrozenDistillation(**options)


@pytest.mark.parametrize(
    'model',
    [
        dict(init_cfg=dict(type='Pretrained', checkpoint='a.pth')),
        dict(pretrained='a.pth'),
    ],
)
def test_a_frozen_teacher_brings_its_weights(model: dict) -> None:
    assert FrozenDistillation(model=model).model == model


def test_logits_are_enough_without_layers() -> None:
    model = classifier()
    model.backbone = torch.nn.Identity()
    with InPlaceDistillation().observed(model) as hidden:
        assert hidden == {}


def test_built_from_a_config() -> None:
    cfg = dict(type='eavit_mm.InPlaceDistillation', temperature=3.0)
    model = classifier(distillation=cfg)
    assert isinstance(model.distillation, InPlaceDistillation)
    assert model.distillation.temperature == 3.0
    assert classifier().distillation is None
