"""A training goes on from what a training wrote, and from nothing else."""

from pathlib import Path

import pytest
import torch

from eavit_mm.engine.training_state import (
    check_optimizer,
    check_training_state,
)
from eavit_mm.models.state_dict import CheckpointError

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
