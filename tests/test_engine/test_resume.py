"""Killed at any moment and resumed = not killed, to the bit."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name('kill_runs.py')
# In mid-epoch; while a checkpoint is written, before and after it gets its
# name; before `last_checkpoint` gets its own; before the old one goes.
KILLS = ('iter:5', 'fsync:1', 'replace:1', 'fsync:2', 'replace:2', 'unlink:3')
EPOCHS = tuple(f'epoch_{number}.pth' for number in (1, 2, 3))
SAVED = {0: ('iter_8.pth', 'iter_16.pth', 'iter_24.pth'), 1: EPOCHS, 2: EPOCHS}


@pytest.mark.parametrize(
    ('stage', 'processes', 'workers', 'kills'),
    [
        (1, 1, 2, KILLS),
        (0, 1, 0, KILLS[:2]),
        (1, 2, 0, ('iter:2', 'replace:2')),
        # In the router's warm-up, in a save, and in the joint phase.
        (2, 1, 0, ('iter:1', 'replace:1', 'iter:10')),
        (2, 2, 0, ('iter:2', 'iter:9')),
    ],
    ids=[
        'two workers',
        'by iterations',
        'two processes',
        'stage 2',
        'stage 2, two processes',
    ],
)
def test_killed_and_resumed_is_uninterrupted(
    tmp_path: Path,
    stage: int,
    processes: int,
    workers: int,
    kills: tuple[str, ...],
) -> None:
    options = map(str, (stage, processes, workers))
    arguments = [str(tmp_path), *options, *kills]
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    logs = '\n'.join(p.read_text() for p in tmp_path.glob('*/ranks.log'))
    assert done.returncode == 0, done.stderr + logs
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result['kill'] for result in results] == list(kills)
    for result in results:
        assert result['signal'] == -signal.SIGKILL, result
        # A complete checkpoint was there, whatever the moment.
        assert result['resumed_from'] in SAVED[stage][:2]
        assert result['status'] == 0, (result, logs)
        assert result['differs'] == '', result
        assert result['ranks_differ'] == '', result
        # max_keep_ckpts=1, and nothing half or expired is left.
        checkpoints = [n for n in result['left'] if 'rank' not in n]
        assert checkpoints == [SAVED[stage][2]], result
