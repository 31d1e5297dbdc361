"""A checkpoint of broken weights is never written; the last one stays."""

import hashlib

import pytest
import torch

from eavit_mm.engine.checkpoint import last_checkpoint

from .toys import build, hook_of

ATOMIC = dict(
    logger=None,
    checkpoint=dict(
        type='eavit_mm.AtomicCheckpointHook', interval=1, max_keep_ckpts=1
    ),
)


def break_from(runner, iteration):
    """Puts NaN into a weight behind the last step of an epoch, or another.

    So a gradient does that is not finite, of a loss that is.
    """

    def after_train_iter(runner, **kwargs):
        if runner.iter == iteration:
            with torch.no_grad():
                runner.model.backbone.ln1.weight[2] = float('nan')

    hook_of(runner, 'Recorder').after_train_iter = after_train_iter


def contents(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.suffix == '.pth' or path.name == 'last_checkpoint'
    }


def test_the_last_good_checkpoint_stays(tmp_path):
    build(
        tmp_path,
        default_hooks=ATOMIC,
        train_cfg=dict(by_epoch=True, max_epochs=1, val_interval=1000),
    ).train()
    good = contents(tmp_path)
    runner = build(tmp_path, default_hooks=ATOMIC, resume=True)
    break_from(runner, 5)  # three steps an epoch
    with pytest.raises(
        FloatingPointError,
        match=r'no checkpoint is written: .*ln1\.weight: 1 NaN or infinite'
        r'.*Lower the learning rate.*epoch_1\.pth',
    ):
        runner.train()
    assert contents(tmp_path) == good


def test_a_nan_loss_names_the_subnet_and_keeps_the_checkpoint(tmp_path):
    runner = build(tmp_path, default_hooks=ATOMIC)
    break_from(runner, 3)
    with pytest.raises(
        FloatingPointError, match=r'the loss is nan for Subnet\(embed_dims='
    ):
        runner.train()
    last = last_checkpoint(tmp_path)
    assert last == str(tmp_path / 'epoch_1.pth')
    state = torch.load(last)['state_dict']
    assert all(weight.isfinite().all() for weight in state.values())
