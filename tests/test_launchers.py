"""The scripts for several processes: what they start, and with what."""

import os
import subprocess
from pathlib import Path

import pytest
from tool_runs import TOOLS

SCRIPTS = sorted(TOOLS.glob('*.sh'))
BEFORE = dict(dist=(), slurm=('gpu part', 'name'))  # mmpretrain's order


def start(
    script: Path, path: Path, *args: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script, *args],
        env={**os.environ, 'PATH': f'{path}:{os.environ["PATH"]}'},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.stem)
def test_a_launcher_hands_on_what_it_was_given(
    script: Path, tmp_path: Path
) -> None:
    for name in ('python', 'srun'):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        (tmp_path / name).chmod(0o755)
    how, tool = script.stem.split('_')
    files = ['my config.py'] + ['a.pth'] * (tool != 'train')
    given = [*BEFORE[how], *files]
    work = how == 'slurm' and tool != 'test'
    given += ['2'] * (how == 'dist') + ['work dir'] * work
    done = start(script, tmp_path, *given, '--more', 'a b')
    launcher = 'pytorch' if how == 'dist' else 'slurm'
    wanted = [str(TOOLS / f'{tool}.py'), *files]
    wanted += ['--work-dir=work dir'] * work
    wanted += ['--launcher', launcher, '--more', 'a b']
    assert done.stdout.splitlines()[-len(wanted) :] == wanted, done.stderr
    done = start(script, tmp_path, *given[:-1])
    assert done.returncode == 2
    assert done.stderr.startswith(f'{script.name} ')


def test_every_tool_of_a_trained_network_has_its_launchers() -> None:
    wanted = {
        f'{how}_{t}' for how in BEFORE for t in ('train', 'search', 'test')
    }
    assert {script.stem for script in SCRIPTS} == wanted
