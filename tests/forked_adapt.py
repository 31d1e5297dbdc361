"""tools/adapt.py whose stages are forked, for what they import is there.

Each is a process in a group of its own, as :mod:`subprocess` starts it.
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Any

import torch
from mmengine.config import config as mmengine_config

import eavit_mm.engine.loops  # noqa: F401
from eavit_mm.engine import stages

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / 'tests' / 'test_engine'))

from forked_tools import run_ranks, run_tool  # noqa: E402


def forked(command: list[str], **options: Any) -> Popen[bytes]:
    """A process that is what it becomes, for a program of this project."""

    def run() -> None:
        os.closerange(3, 4096)  # Popen waits for it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        (tool, *args), processes = command[1:], 1
        if tool == '-m':
            module, alone, number, tool, *args = args
            assert (module, alone) == ('torch.distributed.run', '--standalone')
            processes = int(number.removeprefix('--nproc_per_node='))
        job = dict(tool=tool, args=args, processes=1, kill='')
        os._exit(run_ranks(processes, partial(run_tool, job), 1))

    return Popen(['true'], preexec_fn=run, **options)


if __name__ == '__main__':
    torch.set_num_threads(1)
    # Most of the time would go into the layout of logged configs.
    mmengine_config.FormatCode = lambda code, **options: (code, False)
    stages.subprocess.Popen = forked  # type: ignore[misc, assignment]
    job = dict(tool='adapt.py', args=sys.argv[1:], processes=1, kill='')
    raise SystemExit(run_tool(job, 0))
