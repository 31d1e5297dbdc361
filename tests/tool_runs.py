"""Tools of a checkout, run as a user runs them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / 'tools'
DIGITS = ROOT / 'configs' / 'eavit' / 'vitmini_digits.py'


def run(*args: Any, cwd: Path, fails: bool = False) -> str:
    """Runs a command in a new process; its whole output."""
    threads = dict(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', *map(str, args)],
        cwd=cwd,
        env={**os.environ, **threads},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout[-3000:]
    return done.stdout


def forget_runs() -> None:
    """Runs of one second would share what mmengine keeps by their name."""
    shown = (Visualizer, *Visualizer.__subclasses__())
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()
    for kept in (MMLogger, MessageHub, *shown):
        kept._instance_dict.clear()
