"""Which checkpoints are there after kills, resumes and changed settings."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.runner import Runner

from eavit_mm.engine.checkpoint import last_checkpoint
from eavit_mm.files import lock

from .toys import build, evaluated, hook_of

TOP1 = 'largest/accuracy/top1'


def toy(folder: Path, epochs: int = 3, **changes: Any) -> Runner:
    keep = changes.pop('keep', -1)
    options = {'interval': 1, **changes.pop('checkpoint', {})}
    return build(
        folder,
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        default_hooks=dict(
            logger=None,
            checkpoint=dict(
                type='eavit_mm.AtomicCheckpointHook',
                max_keep_ckpts=keep,
                **options,
            ),
            supernet_meta=dict(type='eavit_mm.SupernetMetaHook'),
        ),
        **changes,
    )


def resumed(
    folder: Path, source: Path | None = None, **changes: Any
) -> Runner:
    runner = toy(
        folder,
        resume=True,
        load_from=None if source is None else str(source),
        **changes,
    )
    runner.train()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob('*.pth'))


def test_another_runs_checkpoints_stay(tmp_path: Path) -> None:
    toy(tmp_path / 'here').train()
    first = (tmp_path / 'here' / 'epoch_1.pth').read_bytes()
    toy(tmp_path / 'other', epochs=4, keep=2).train()
    other = tmp_path / 'other' / 'epoch_4.pth'
    resumed(tmp_path / 'here', other, epochs=6, keep=1)
    # Its own ones expire, epoch_5.pth here.
    expected = [f'epoch_{i}.pth' for i in (1, 2, 3, 6)]
    assert names(tmp_path / 'here') == expected
    assert (tmp_path / 'here' / 'epoch_1.pth').read_bytes() == first


def test_fewer_are_kept_from_a_resume_on(tmp_path: Path) -> None:
    toy(tmp_path, epochs=2, keep=2).train()
    assert names(tmp_path) == ['epoch_1.pth', 'epoch_2.pth']
    resumed(tmp_path, epochs=3, keep=1)
    assert names(tmp_path) == ['epoch_3.pth']


def test_milestones_of_an_earlier_setting_stay(tmp_path: Path) -> None:
    toy(tmp_path, epochs=2).train()
    resumed(tmp_path, epochs=4, keep=1)
    resumed(tmp_path, epochs=5, keep=1)
    assert names(tmp_path) == [f'epoch_{i}.pth' for i in (1, 2, 5)]


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    toy(tmp_path, epochs=2, keep=1).train()
    # As if it had been killed before the removal.
    (tmp_path / 'epoch_1.pth').write_bytes(b'')
    (tmp_path / '.epoch_2.pth.partial').write_bytes(b'')
    # Of an export in the same folder.
    (tmp_path / '.net.0123abcd.partial').mkdir()
    resumed(tmp_path, epochs=2, keep=1)
    assert names(tmp_path) == ['epoch_2.pth']
    (left,) = tmp_path.glob('.*.partial')
    assert left.is_dir()


def best_and_last(folder: Path, number: int) -> list[str]:
    best = f'best_{TOP1.replace("/", "_")}_epoch_{number}.pth'
    return [best, f'epoch_{number}.pth']


def test_moved_and_copied_runs_go_on_each_for_itself(tmp_path: Path) -> None:
    options = dict(
        checkpoint=dict(save_best=TOP1),
        keep=1,
        **evaluated(subnets=dict(largest=1.0)),
    )
    here, copied, moved, new = (tmp_path / name for name in 'abcd')
    toy(here, epochs=1, **options).train()
    assert names(here) == best_and_last(here, 1)
    shutil.copytree(here, copied)

    def go_on(folder: Path, source: Path | None = None) -> None:
        runner = toy(
            folder,
            epochs=2,
            resume=True,
            load_from=source and str(source / 'epoch_1.pth'),
            **options,
        )
        # Whatever comes is better.
        hook_of(runner, 'Recorder').before_val_epoch = lambda runner: (
            runner.message_hub.update_info('best_score', -1.0)
        )
        runner.train()
        assert last_checkpoint(folder) == str(folder / 'epoch_2.pth')

    go_on(copied)
    go_on(new, here)
    for folder in (copied, new):
        assert names(folder) == best_and_last(folder, 2)
    # What is another's stays.
    assert names(here) == best_and_last(here, 1)
    here.rename(moved)
    shutil.copytree(copied, here)
    go_on(moved)
    assert names(moved) == best_and_last(moved, 2)


def test_another_training_does_not_write_there(tmp_path: Path) -> None:
    toy(tmp_path, epochs=1).train()
    before = (tmp_path / 'epoch_1.pth').read_bytes()
    with (
        lock(tmp_path / 'last_checkpoint'),
        pytest.raises(ValueError, match='is writing there; .* another folder'),
    ):
        toy(tmp_path, epochs=2).train()
    assert (tmp_path / 'epoch_1.pth').read_bytes() == before
    # A run that failed in this process does not stand in the way.
    runner = toy(tmp_path, epochs=2)
    hook_of(runner, 'Recorder').before_train_epoch = [].pop
    with pytest.raises(TypeError):
        runner.train()
    toy(tmp_path, epochs=1).train()


def test_steps_inside_of_epochs_are_refused(tmp_path: Path) -> None:
    runner = toy(tmp_path, checkpoint=dict(by_epoch=False))
    with pytest.raises(ValueError, match='by_epoch=False in a loop of epoch'):
        runner.train()


def accumulated(counts: int) -> dict[str, Any]:
    return dict(
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.05), accumulative_counts=counts
        )
    )


def test_no_checkpoint_falls_between_the_batches_of_an_update(
    tmp_path: Path,
) -> None:
    # Three iterations an epoch.
    toy(tmp_path / 'whole', **accumulated(3)).train()
    runner = toy(tmp_path / 'between', **accumulated(2))
    with pytest.raises(
        ValueError,
        match='checkpoint.interval=1: a checkpoint every 3 iterations falls '
        'between .*accumulative_counts=2.* be a multiple of 2',
    ):
        runner.train()
    assert not names(tmp_path / 'between')
    toy(tmp_path / 'odd', checkpoint=dict(save_last=False), epochs=1).train()
    with pytest.raises(ValueError, match='--resume: iteration 3 is between'):
        resumed(
            tmp_path / 'odd',
            checkpoint=dict(interval=2),
            epochs=4,
            **accumulated(2),
        )


class KilledError(Exception):
    """In place of a kill."""


@pytest.mark.parametrize('epoch', [1, 2, 3])
def test_the_best_is_known_after_a_kill_in_validation(
    tmp_path: Path, epoch: int
) -> None:
    options = dict(
        checkpoint=dict(save_best=TOP1),
        **evaluated(subnets=dict(largest=1.0)),
    )
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    toy(whole, **options).train()
    runner = toy(killed, **options)

    def stop(runner: Runner, *args: Any, **kwargs: Any) -> None:
        if runner.epoch == epoch:
            raise KilledError

    hook_of(runner, 'Recorder').after_val_iter = stop
    with pytest.raises(KilledError):
        runner.train()
    resumed(killed, **options)
    assert names(killed) == names(whole)
    (best,) = whole.glob('best_*')
    score = [
        torch.load(folder / best.name)['message_hub']['runtime_info'][
            'best_score'
        ]
        for folder in (whole, killed)
    ]
    assert score[0] == score[1]


def test_the_best_has_no_broken_weights(tmp_path: Path) -> None:
    runner = toy(
        tmp_path,
        checkpoint=dict(save_best=TOP1),
        **evaluated(subnets=dict(largest=1.0)),
    )

    def break_weights(runner: Runner, *args: Any, **kwargs: Any) -> None:
        next(runner.model.parameters()).data.fill_(float('nan'))

    hook_of(runner, 'Recorder').before_val_epoch = break_weights
    with pytest.raises(FloatingPointError, match='no checkpoint is written'):
        runner.train()
    assert not list(tmp_path.glob('best_*'))


def test_options_of_single_parameters_are_resumed(tmp_path: Path) -> None:
    """mmengine's wrapper shows a group more than its optimizer has."""
    options = dict(
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=0.01),
            paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=2.0)}),
        )
    )
    toy(tmp_path, epochs=2, keep=1, **options).train()
    resumed(tmp_path, epochs=3, keep=1, **options)
    assert names(tmp_path) == ['epoch_3.pth']
