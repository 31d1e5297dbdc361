"""Parts of a GPU bench that end in every way, at once."""

import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.gpu.__main__ import run_parts
from benchmarks.gpu.parts import Part
from benchmarks.gpu.record import Record
from benchmarks.gpu.run import Run

MODULE = 'test_benchmarks.made_up_parts'
LONG = 120


def good(run: Run) -> None:
    run.add(value=1)


def wrong(run: Run) -> None:
    run.add(value=2)
    raise ValueError('a device fell off\nand more')


def silent(run: Run) -> None:
    raise ValueError('too early')


def hanging(run: Run) -> None:
    run.add(value=os.getpid())
    time.sleep(LONG)


def dying(run: Run) -> None:
    """Gets a row further each time, and dies in the first two."""
    if len(run.rows) < 2:
        run.add(value=os.getpid())
        os.kill(os.getpid(), signal.SIGSEGV)


def part(name: str, seconds: float = LONG) -> Part:
    return Part(name, f'{MODULE}:{name}', seconds, resumes=name == 'dying')


if __name__ == '__main__':
    record = Record(Path(sys.argv[1]))
    run_parts([part('hanging')], record, LONG, 'cpu', quick=True)
