"""Processes without a GPU, started by each launcher."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from eavit_mm.engine import cli
from eavit_mm.engine.launch import process_variables

# What each launcher sets in process 1 of 2.
SET = {
    'pytorch': dict(
        RANK='1', WORLD_SIZE='2', LOCAL_RANK='1', MASTER_ADDR='127.0.0.1'
    ),
    'slurm': dict(
        SLURM_PROCID='1',
        SLURM_NTASKS='2',
        SLURM_LOCALID='1',
        SLURM_NODELIST='localhost',
    ),
    'mpi': dict(
        OMPI_COMM_WORLD_RANK='1',
        OMPI_COMM_WORLD_SIZE='2',
        OMPI_COMM_WORLD_LOCAL_RANK='1',
        MASTER_ADDR='127.0.0.1',
    ),
}
RANKS = dict(
    pytorch=['RANK', 'LOCAL_RANK'],
    slurm=['SLURM_PROCID', 'SLURM_LOCALID'],
    mpi=['OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK'],
)
every_launcher = pytest.mark.parametrize('launcher', SET)


def clean(variables: dict[str, str]) -> dict[str, str]:
    """This environment without any launcher's variables, and those given."""
    starts = ('SLURM_', 'OMPI_', 'MASTER_', 'RANK', 'WORLD_SIZE', 'LOCAL_RANK')
    kept = {k: v for k, v in os.environ.items() if not k.startswith(starts)}
    return {**kept, **variables}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    def replace(variables: dict[str, str]) -> None:
        monkeypatch.setattr(os, 'environ', clean(variables))

    return replace


@every_launcher
def test_what_torch_reads(launcher: str, environment: Any) -> None:
    environment(SET[launcher])
    found = process_variables(launcher)
    address = found.pop('MASTER_ADDR')
    assert address == ('localhost' if launcher == 'slurm' else '127.0.0.1')
    assert found == dict(
        RANK='1', WORLD_SIZE='2', LOCAL_RANK='1', MASTER_PORT='29500'
    )
    environment({**SET[launcher], 'MASTER_ADDR': 'n7', 'MASTER_PORT': '1234'})
    found = process_variables(launcher)
    assert (found['MASTER_ADDR'], found['MASTER_PORT']) == ('n7', '1234')


@every_launcher
def test_a_missing_variable_is_named(launcher: str, environment: Any) -> None:
    for name in SET[launcher]:
        left = {k: v for k, v in SET[launcher].items() if k != name}
        environment(left)
        words = f'--launcher {launcher}: {name} not set; start the processes'
        with pytest.raises(ValueError, match=words):
            process_variables(launcher)


def test_an_unknown_launcher_is_named() -> None:
    with pytest.raises(ValueError, match="launcher='ssh'; choose from none, "):
        process_variables('ssh')


def test_the_first_of_several_nodes(environment: Any, tmp_path: Path) -> None:
    several = {**SET['slurm'], 'SLURM_NODELIST': 'n[3-5,8]'}
    environment({**several, 'PATH': str(tmp_path)})
    with pytest.raises(ValueError, match=r'NODELIST=n\[3-5,8\].*MASTER_ADDR'):
        process_variables('slurm')
    tool = tmp_path / 'scontrol'
    tool.write_text(
        '#!/bin/sh\n[ "$*" = "show hostnames n[3-5,8]" ] && '
        + ('printf "n3\\nn4\\nn5\\nn8\\n"\n')
    )
    tool.chmod(0o755)
    assert process_variables('slurm')['MASTER_ADDR'] == 'n3'
    tool.write_text('#!/bin/sh\nexit 1\n')
    with pytest.raises(ValueError, match='set MASTER_ADDR'):
        process_variables('slurm')
    environment({**several, 'MASTER_ADDR': 'n3'})
    assert process_variables('slurm')['MASTER_ADDR'] == 'n3'


ADD = """
import sys, torch
from eavit_mm.engine.cli import leave_ranks
from eavit_mm.engine.launch import start_processes
start_processes(sys.argv[1])
rank = torch.distributed.get_rank()
total = torch.tensor(rank + 1)
torch.distributed.all_reduce(total)
print(f'{rank}: {total}')
leave_ranks()
"""


@every_launcher
def test_two_processes_meet(launcher: str) -> None:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in ('0', '1'):
        ranks = dict.fromkeys(RANKS[launcher], rank)
        variables = {**SET[launcher], **ranks, 'MASTER_PORT': port}
        started.append(
            subprocess.Popen(
                [sys.executable, '-W', 'ignore', '-c', ADD, launcher],
                env=clean({**variables, 'OMP_NUM_THREADS': '1'}),
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    texts = [process.communicate(timeout=120)[0] for process in started]
    assert [text.strip() for text in texts] == ['0: 3', '1: 3']


@every_launcher
def test_a_runner_starts_them_if_there_is_no_gpu(
    launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(cli, 'start_processes', started.append)
    monkeypatch.setattr(Runner, 'from_cfg', lambda cfg: 'runner')
    for has_gpu in (False, True):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: has_gpu)  # noqa: B023
        cfg = Config(dict(model=dict(type='X'), launcher=launcher))
        assert cli.build_runner(cfg) == 'runner'
    assert started == [launcher]
