"""The teacher of a run: a copy, another checkpoint, another network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmpretrain.registry import MODELS

from eavit_mm.engine.hooks.teacher_hook import TEACHER

from .toys import (
    CLASSES,
    build,
    hook_of,
    logits,
    model_cfg,
    prepared,
    randomise,
    snapshot,
    stock_cfg,
)

FROZEN = dict(type='eavit_mm.FrozenDistillation')
RUNTIME = dict(
    logger=None,
    checkpoint=dict(type='eavit_mm.AtomicCheckpointHook', interval=1),
    supernet_meta=dict(type='eavit_mm.SupernetMetaHook'),
    teacher=dict(type='eavit_mm.TeacherHook'),
)


def runner_of(folder: Path, **changes: Any) -> Any:
    distillation = {**FROZEN, **changes.pop('distillation', {})}
    changes.setdefault('model', model_cfg(distillation=distillation))
    changes.setdefault('default_hooks', RUNTIME)
    return build(folder, **changes)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_copy_of_the_network_as_training_begins(tmp_path: Path) -> None:
    runner = runner_of(tmp_path)
    begun: dict[str, torch.Tensor] = {}
    hook_of(runner, 'Recorder').before_train = lambda runner: begun.update(
        snapshot(runner.model)
    )
    runner.train()
    teacher = runner.model.distillation.teacher
    assert same(teacher.state_dict(), begun)
    assert not same(runner.model.state_dict(), begun)
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    # One teacher, not a chain of them.
    assert teacher.distillation is None


def test_it_is_the_same_after_a_resume(tmp_path: Path) -> None:
    first = runner_of(tmp_path)
    first.train()
    copied = snapshot(first.model.distillation.teacher)
    checkpoint = tmp_path / 'epoch_2.pth'
    saved = torch.load(checkpoint, weights_only=True)
    assert same(saved[TEACHER], copied)
    resumed = runner_of(tmp_path, resume=True, load_from=str(checkpoint))
    resumed.train()
    assert same(resumed.model.distillation.teacher.state_dict(), copied)
    assert same(resumed.model.state_dict(), first.model.state_dict())
    # Started anew from those weights, it is a copy of them.
    anew = runner_of(tmp_path / 'anew', load_from=str(checkpoint))
    prepared(anew)
    found = anew.model.distillation.teacher.state_dict()
    assert same(found, saved['state_dict'])


def test_resumed_from_a_run_without_a_teacher(tmp_path: Path) -> None:
    runner_of(tmp_path, model=model_cfg()).train()
    resumed = runner_of(
        tmp_path, resume=True, load_from=str(tmp_path / 'epoch_1.pth')
    )
    with pytest.raises(ValueError, match='holds no teacher'):
        prepared(resumed)


def teacher_file(folder: Path, cfg: dict[str, Any], **meta: Any) -> str:
    folder.mkdir(exist_ok=True)
    model = randomise(MODELS.build(cfg), 5)
    path = folder / 'teacher.pth'
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(eavit_mm=meta)), path
    )
    return str(path)


def test_another_checkpoint(tmp_path: Path) -> None:
    path = teacher_file(tmp_path, stock_cfg())
    runner = runner_of(tmp_path, distillation=dict(checkpoint=path))
    runner.train()
    teacher = runner.model.distillation.teacher
    expected = torch.load(path, weights_only=True)['state_dict']
    assert same(teacher.state_dict(), expected)
    # It is in its own file, not in this run's.
    saved = torch.load(tmp_path / 'epoch_3.pth', weights_only=True)
    assert TEACHER not in saved


def wide_cfg() -> dict[str, Any]:
    """A wider, stock ViT."""
    cfg = stock_cfg()
    cfg['backbone']['arch'] = dict(
        embed_dims=20, num_layers=3, num_heads=2, feedforward_channels=30
    )
    cfg['head']['in_channels'] = 20
    return cfg


def resnet_cfg() -> dict[str, Any]:
    """A network without encoder layers."""
    return dict(
        type='ImageClassifier',
        backbone=dict(
            type='ResNet',
            depth=18,
            in_channels=1,
            stem_channels=4,
            base_channels=4,
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=32),
    )


@pytest.mark.parametrize(
    ('make', 'number'), [(wide_cfg, 3), (resnet_cfg, 0)], ids=['ViT', 'ResNet']
)
def test_another_network(make: Any, number: int, tmp_path: Path) -> None:
    """Its logits teach; its hidden states are others than the student's."""
    cfg = make()
    options = dict(model=cfg, checkpoint=teacher_file(tmp_path, cfg))
    runner = runner_of(tmp_path / 'logits', distillation=options)
    prepared(runner)
    teacher = runner.model.distillation.teacher
    assert type(teacher).__name__ == 'ImageClassifier'
    twin = randomise(MODELS.build(cfg), 5)
    torch.testing.assert_close(logits(teacher), logits(twin))
    runner = runner_of(
        tmp_path / 'hidden', distillation=dict(hidden_weight=0.1, **options)
    )
    with pytest.raises(
        ValueError,
        match=f'hidden states of .*, which has {number} encoder lay.* of 2;',
    ):
        prepared(runner)


def test_a_network_that_loads_itself(tmp_path: Path) -> None:
    path = teacher_file(tmp_path, stock_cfg())
    init_cfg = dict(type='Pretrained', checkpoint=path)
    options = dict(model=dict(stock_cfg(), init_cfg=init_cfg))
    runner = runner_of(tmp_path, distillation=options)
    prepared(runner)
    expected = torch.load(path, weights_only=True)['state_dict']
    assert same(runner.model.distillation.teacher.state_dict(), expected)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(mean=[0.0]), r"mean is \[0.0\], the student's \[0.1"),
        (dict(std=[255]), r"std is \[255\], the student's \[1.1"),
        (dict(to_rgb=True), 'change of colour order is True, the student'),
        # As many numbers as there are channels, or one: the same.
        (dict(mean=[0.1] * 3, std=[1.1] * 3), None),
    ],
)
def test_images_of_another_normalisation(
    changes: dict[str, Any], words: str | None, tmp_path: Path
) -> None:
    cfg = stock_cfg()
    path = teacher_file(tmp_path, cfg)
    cfg['data_preprocessor'] = {**cfg['data_preprocessor'], **changes}
    runner = runner_of(tmp_path, distillation=dict(checkpoint=path, model=cfg))
    if words is None:
        prepared(runner)
        return
    with pytest.raises(
        ValueError, match=f'distillation.model.data_preprocessor: {words}'
    ):
        prepared(runner)


@pytest.mark.parametrize(
    ('theirs', 'weight', 'fits'),
    [
        (None, 0.5, True),
        ('ActivationCriterion', 0.5, False),
        ('ActivationCriterion', 0.0, True),
    ],
)
def test_hidden_states_in_another_order(
    theirs: str | None, weight: float, fits: bool, tmp_path: Path
) -> None:
    path = teacher_file(tmp_path, stock_cfg(), rearrangement=theirs)
    runner = runner_of(
        tmp_path, distillation=dict(checkpoint=path, hidden_weight=weight)
    )
    if fits:
        prepared(runner)
        return
    with pytest.raises(ValueError, match='their hidden states do not corr'):
        prepared(runner)


def test_a_teacher_that_does_not_fit(tmp_path: Path) -> None:
    cfg = stock_cfg()
    cfg['head'] = dict(cfg['head'], num_classes=7)
    path = teacher_file(tmp_path, cfg)
    runner = runner_of(tmp_path, distillation=dict(checkpoint=path))
    with pytest.raises(ValueError, match=r'distillation.checkpoint=.*head'):
        prepared(runner)
    missing = runner_of(
        tmp_path, distillation=dict(checkpoint=str(tmp_path / 'none.pth'))
    )
    with pytest.raises(FileNotFoundError, match='none.pth'):
        prepared(missing)


def test_without_the_hook(tmp_path: Path) -> None:
    bare = {k: v for k, v in RUNTIME.items() if k != 'teacher'}
    runner = runner_of(tmp_path, default_hooks=bare)
    with pytest.raises(ValueError, match='TeacherHook'):
        runner.train()


def test_other_models_are_left_alone(tmp_path: Path) -> None:
    prepared(runner_of(tmp_path, model=stock_cfg()))
