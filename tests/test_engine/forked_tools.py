"""Runs tools in forked processes, where they can be killed.

Reads one run per line of its input, as JSON, and answers each with a line.
A process of its own: what it imports is imported once, and it can fork.
"""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'tools'))


class Done(NamedTuple):
    """How a run ended.

    Attributes:
        status: Exit status of rank 0, negative for a signal.
        text: What its processes wrote.
    """

    status: int
    text: str

    @property
    def last(self) -> str:
        return self.text.strip().splitlines()[-1]


class ForkedTools:
    """Starts this file as a process and lets it run tools."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def run(
        self, tool: str, *args: Any, processes: int = 1, kill: str = ''
    ) -> Done:
        """Runs a tool.

        Args:
            tool: File name in tools/.
            *args: Of its command line.
            processes: More than one are a gloo group.
            kill: 'before:N' or 'after:N' kills rank 0 by SIGKILL there: N is
                the write to evaluations.jsonl; 'front' when pareto.json gets
                its name.
        """
        job = dict(
            tool=tool, args=[*map(str, args)], processes=processes, kill=kill
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f'{json.dumps(job)}\n')
        self.process.stdin.flush()
        return Done(*json.loads(self.process.stdout.readline()))


@contextmanager
def forked_tools() -> Iterator[ForkedTools]:
    with subprocess.Popen(
        [sys.executable, '-W', 'ignore', __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    ) as process:
        yield ForkedTools(process)
        assert process.stdin is not None
        process.stdin.close()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(point: str) -> None:
    """Makes this process kill itself."""
    from eavit_mm.engine.loops import pareto_search_loop as loop

    name, _, number = point.partition(':')
    if name == 'front':
        rename = Path.replace

        def replace(path: Path, target: Path) -> Path:
            if Path(target).name == 'pareto.json':
                die()
            return rename(path, target)

        Path.replace = replace
        return
    left = int(number)
    write = loop.append_evaluations

    def append(path: Path, members: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0 and name == 'before':
            die()
        write(path, members)
        if left == 0:
            die()

    loop.append_evaluations = append


def run_ranks(world: int, work: Callable[[int], int], output: int) -> int:
    """Runs a function in forked processes, one for each rank.

    Args:
        world: How many; the environment of several is that of torchrun.
        work: What a rank does; gives its exit status.
        output: File descriptor of all that they write.

    Returns:
        The exit status of rank 0, negative for a signal; where it is not 0
        the others are killed.
    """
    port = 20000 + (os.getpid() * 7 + time.monotonic_ns() // 1000) % 20000
    pids = []
    for rank in range(world):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.dup2(output, 1)
                os.dup2(output, 2)
                if world > 1:
                    os.environ.update(
                        RANK=str(rank),
                        LOCAL_RANK=str(rank),
                        WORLD_SIZE=str(world),
                        MASTER_ADDR='127.0.0.1',
                        MASTER_PORT=str(port),
                    )
                status = work(rank)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        pids.append(pid)
    _, status = os.waitpid(pids[0], 0)
    for pid in pids[1:]:
        if status:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def run_tool(job: dict[str, Any], rank: int) -> int:
    """What one process of a tool does; its exit status."""
    args = [str(ROOT / 'tools' / job['tool']), *job['args']]
    if job['processes'] > 1:
        args += ['--launcher', 'pytorch']
    if job['kill'] and rank == 0:
        kill_at(job['kill'])
    sys.argv = args
    try:
        runpy.run_path(args[0], run_name='__main__')
    except SystemExit as end:
        if not isinstance(end.code, str):
            return end.code or 0
        sys.stderr.write(f'{end.code}\n')
        return 1
    return 0


def run(job: dict[str, Any]) -> Done:
    output = os.memfd_create('output')
    status = run_ranks(job['processes'], partial(run_tool, job), output)
    with os.fdopen(output, 'rb') as file:
        file.seek(0)
        return Done(status, file.read().decode())


def main() -> None:
    import torch
    from mmengine.config import config as mmengine_config

    import eavit_mm
    import eavit_mm.engine.loops  # noqa: F401

    torch.set_num_threads(1)
    # Most of the time would go into the layout of logged configs.
    mmengine_config.FormatCode = lambda code, **options: (code, False)
    answers = os.fdopen(os.dup(1), 'w')
    for line in sys.stdin:
        answers.write(f'{json.dumps(run(json.loads(line)))}\n')
        answers.flush()


if __name__ == '__main__':
    main()
