"""tools/adapt.py whose stages are forked, for what they import is there.

Each is a process in a group of its own, as :mod:`subprocess` starts it.
"""

import os
import signal
import sys
from multiprocessing import get_context
from pathlib import Path
from subprocess import Popen
from typing import Any

import torch
from mmengine.config import config as mmengine_config

import eavit_mm.engine.loops  # noqa: F401
from eavit_mm.engine import stages

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / 'tests' / 'test_engine'))

from forked_tools import enter_group, free_port, run_tool  # noqa: E402


def forked(command: list[str], **options: Any) -> Popen[bytes]:
    """A process that is what it becomes, for a program of this project."""

    begin = options.pop('preexec_fn', lambda: None)

    def run() -> None:
        begin()
        os.closerange(3, 4096)  # Popen waits for it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if command[1] != '-m':
            os._exit(_run_ranks(command[1:], 1))
        module, alone, number, *argv = command[2:]
        assert (module, alone) == ('torch.distributed.run', '--standalone')
        processes = int(number.removeprefix('--nproc_per_node='))
        os._exit(_run_ranks(argv, processes))

    return Popen(['true'], preexec_fn=run, **options)


def _run_ranks(argv: list[str], processes: int) -> int:
    """Exit status of the first process of a tool."""
    port, fork = free_port(), get_context('fork')
    ranks = [
        fork.Process(target=_be_rank, args=(rank, processes, port, argv))
        for rank in range(processes)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    status = ranks[0].exitcode
    assert status is not None
    return status if status >= 0 else 128 - status


def _be_rank(rank: int, world: int, port: int, argv: list[str]) -> None:
    if world > 1:
        enter_group(rank, world, port)
    run_tool(argv)


if __name__ == '__main__':
    torch.set_num_threads(1)
    # Most of the time would go into the layout of logged configs.
    mmengine_config.FormatCode = lambda code, **options: (code, False)
    stages.subprocess.Popen = forked  # type: ignore[misc, assignment]
    run_tool([str(ROOT / 'tools' / 'adapt.py'), *sys.argv[1:]])
