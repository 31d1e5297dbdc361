"""A training goes on from what a training wrote, and from nothing else."""

from pathlib import Path

import pytest
import torch

from eavit_mm.engine.optimizer_state import check_optimizer
from eavit_mm.engine.pending_gradients import GRADIENTS
from eavit_mm.engine.training_state import (
    EXPIRED,
    check_run,
    check_training_state,
)
from eavit_mm.weights.state_dict import CheckpointError

from .toys import build


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp('written')
    runner = build(folder)
    runner.train()
    return runner, torch.load(folder / 'epoch_3.pth')


def test_a_training_run_is_accepted(written):
    runner, checkpoint = written
    check_training_state(checkpoint)
    check_optimizer(runner.optim_wrapper, checkpoint['optimizer'])


@pytest.mark.parametrize(
    ('meta', 'words'),
    [
        (dict(), 'not of a training run'),
        (None, 'not of a training run'),
        (dict(iter=3), r"meta\['epoch'\]=None; must be an integer"),
        (dict(iter=3, epoch=1, config='1'), 'is refused: .* as code'),
    ],
)
def test_another_meta_is_refused(written, meta, words):
    with pytest.raises(CheckpointError, match=words):
        check_training_state({**written[1], 'meta': meta})


@pytest.fixture(scope='module')
def interrupted(tmp_path_factory):
    """A run with all that a checkpoint can hold, between two updates."""
    folder = tmp_path_factory.mktemp('interrupted')
    runner = build(
        folder,
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=1e-3), accumulative_counts=2
        ),
        param_scheduler=[dict(type='MultiStepLR', milestones=[2])],
        custom_hooks=[dict(type='EMAHook', momentum=0.1)],
        default_hooks=dict(
            logger=None,
            checkpoint=dict(
                type='eavit_mm.AtomicCheckpointHook',
                interval=1,
                max_keep_ckpts=2,
            ),
        ),
    )
    runner.train()
    # Three iterations an epoch.
    return runner, folder / 'epoch_2.pth'


def fresh(path):
    return torch.load(path, weights_only=True)


def put(*keys):
    """A mutation: sets a value deep in a checkpoint."""
    *way, last, value = keys

    def mutate(checkpoint):
        for key in way:
            checkpoint = checkpoint[key]
        checkpoint[last] = value

    return mutate


def moment(name, value):
    def mutate(checkpoint):
        checkpoint['optimizer']['state'][3][name] = value

    return mutate


GROUP = ('optimizer', 'param_groups', 0)
INFO = ('message_hub', 'runtime_info')
DAMAGE = {
    'seed': (put('meta', 'seed', 'x'), r"meta\['seed'\]='x'; must be an int"),
    'negative seed': (put('meta', 'seed', -1), 'must be an integer of at'),
    'hub seed': (put(*INFO, 'seed', -3), 'message_hub: seed=-3; must be an'),
    'best': (put(*INFO, 'best_score', 'x'), "best_score='x'; must be a numb"),
    'kept': (put(*INFO, 'keep_ckpt_ids', '1'), "keep_ckpt_ids='1'; must be"),
    'expired': (put(*INFO, EXPIRED, [3]), 'must be a list of names'),
    'places': (put(*GROUP, 'params', 3), "'params', a list of places"),
    'lr': (put(*GROUP, 'lr', 'x'), "lr='x'; must be as in this config, 0.0"),
    'betas': (put(*GROUP, 'betas', None), 'betas=None; must be as in this'),
    'beta': (
        put(*GROUP, 'betas', (0.9, 'x')),
        r'betas=\(0.9, .x.\); must be as in this',
    ),
    'a list': (put('optimizer', 'state', 3, []), r'has \[\] of parameter 3'),
    'less': (put('optimizer', 'state', 3, dict(step=1)), "dict of .'exp_avg'"),
    'text': (moment('exp_avg', 'x'), 'exp_avg of shape str must be'),
    'number': (moment('exp_avg', torch.tensor(1.0)), r'of shape \(\) must be'),
    'no schedule': (put('param_schedulers', []), r'must be a list of 1 state'),
    'schedule': (put('param_schedulers', 'x'), "param_schedulers='x'; must"),
    'step': (
        put('param_schedulers', 0, 'last_step', 'x'),
        "last_step='x' of MultiStepLR; must be a number",
    ),
    'no average': (put('ema_state_dict', None), 'ema_state_dict is NoneType'),
}


def check(runner, checkpoint):
    check_training_state(checkpoint)
    check_run(runner, checkpoint)


@pytest.mark.parametrize('name', DAMAGE)
def test_damage_is_named(interrupted, name):
    mutate, words = DAMAGE[name]
    runner, path = interrupted
    check(runner, fresh(path))
    checkpoint = fresh(path)
    mutate(checkpoint)
    with pytest.raises(CheckpointError, match=words):
        check(runner, checkpoint)


@pytest.mark.parametrize(
    'pending',
    [
        None,
        'x',
        [],
        ['x'],
        [dict(gradients='x')],
        [dict(gradients={'head.fc.weight': 'x'})],
        [dict(gradients={'other': torch.zeros(2)})],
    ],
)
def test_gradients_between_two_updates_must_be_there(tmp_path, pending):
    options = dict(
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=1e-3), accumulative_counts=2
        ),
        default_hooks=dict(
            logger=None,
            checkpoint=dict(type='eavit_mm.AtomicCheckpointHook', interval=1),
        ),
    )
    runner = build(tmp_path, **options)
    runner.train()
    checkpoint = fresh(tmp_path / 'epoch_1.pth')
    assert checkpoint['meta']['iter'] == 3
    check(runner, checkpoint)
    checkpoint[GRADIENTS] = pending
    with pytest.raises(CheckpointError, match=GRADIENTS):
        check(runner, checkpoint)
    # After an update there is nothing to wait for.
    check(runner, {**fresh(tmp_path / 'epoch_2.pth'), GRADIENTS: pending})


@pytest.mark.parametrize('group', [3, {}])
def test_an_optimizer_without_its_groups_is_refused(written, group):
    optimizer = dict(state={}, param_groups=[group])
    with pytest.raises(CheckpointError, match=f'the group {group} must be'):
        check_training_state({**written[1], 'optimizer': optimizer})


def test_code_is_not_run_by_a_stock_tool(tmp_path, written):
    trace = tmp_path / 'trace'
    code = f"open({str(trace)!r}, 'w').close()"
    meta = {**written[1]['meta'], 'config': code}
    path = tmp_path / 'evil.pth'
    torch.save({**written[1], 'meta': meta}, path)

    def resumed(**hooks) -> None:
        build(
            tmp_path / 'run',
            load_from=str(path),
            resume=True,
            default_hooks=dict(logger=None, **hooks),
        ).train()

    with pytest.raises(CheckpointError, match='as code'):
        resumed(supernet_meta=dict(type='eavit_mm.SupernetMetaHook'))
    assert not Path(trace).exists()
    # Without our hook it is run: the attack is real.
    resumed()
    assert trace.exists()
