"""Runs tools and functions in forked processes, where they can be killed.

They are forked by a server, which has imported once what all of them need.
"""

import gc
import os
import runpy
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import config as mmengine_config

from eavit_mm.engine.hooks import ReproducibleHook
from eavit_mm.engine.hooks.atomic_checkpoint_hook import AtomicBackend
from eavit_mm.engine.loops import pareto_search_loop

ROOT = Path(__file__).resolve().parents[2]
SERVER = get_context('forkserver')
SERVER.set_forkserver_preload(
    [
        *(f'eavit_mm.engine.{name}' for name in ('cli', 'hooks', 'loops')),
        *('eavit_mm.engine.optim', 'eavit_mm.models.elastic_segmentor'),
    ]
)
# What a kill can fall upon.
POINTS: dict[str, tuple[Any, str]] = {
    'iter': (ReproducibleHook, 'before_train_iter'),
    'replace': (Path, 'replace'),
    'removal': (AtomicBackend, 'remove_doomed'),
    'write': (pareto_search_loop, 'append_evaluations'),
}


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


def run(tool: str, *args: Any, processes: int = 1, kill: str = '') -> Done:
    """Runs a tool; the options are those of :func:`run_ranks`."""
    argv = [str(ROOT / 'tools' / tool), *map(str, args)]
    if processes > 1:
        argv += ['--launcher', 'pytorch']
    return run_ranks(run_tool, argv, processes=processes, kill=kill)


def run_ranks(
    work: Callable[..., Any], *args: Any, processes: int = 1, kill: str = ''
) -> Done:
    """Calls a function in forked processes, one for each rank.

    Args:
        work: What a rank does.
        *args: Of the function.
        processes: How many; several have the environment of torchrun's.
        kill: 'NAME:N' kills rank 0 by SIGKILL before its N-th call of one of
            ``POINTS``, as a machine would that loses power.
    """
    with tempfile.NamedTemporaryFile() as output:
        shared = output.name, processes, free_port(), kill, work, args
        ranks = [
            SERVER.Process(target=_be_rank, args=(rank, *shared))
            for rank in range(processes)
        ]
        for rank in ranks:
            rank.start()
        ranks[0].join()
        for rank in ranks[1:]:
            if ranks[0].exitcode:
                rank.kill()
            rank.join()
        assert ranks[0].exitcode is not None
        return Done(ranks[0].exitcode, output.read().decode())


def free_port() -> int:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return int(free.getsockname()[1])


def _be_rank(
    rank: int,
    output: str,
    world: int,
    port: int,
    kill: str,
    work: Callable[..., Any],
    args: Any,
) -> None:
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    torch.set_num_threads(1)
    # Every data set collects garbage: what was imported need not be looked
    # through each time.
    gc.freeze()
    # Most of the time would go into the layout of logged configs.
    mmengine_config.FormatCode = lambda code, **options: (code, False)
    if world > 1:
        enter_group(rank, world, port)
    if kill and rank == 0:
        _kill_at(*kill.split(':'))
    work(*args)


def enter_group(rank: int, world: int, port: int) -> None:
    """Gives this process the environment of a rank, as torchrun does."""
    place = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    group = dict(place, RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=world)
    os.environ.update({key: str(value) for key, value in group.items()})


def run_tool(argv: list[str]) -> None:
    """Is a tool, whose path comes first."""
    sys.argv = argv
    sys.path.insert(0, str(Path(argv[0]).parent))
    runpy.run_path(argv[0], run_name='__main__')


def _kill_at(name: str, number: str) -> None:
    """Makes this process kill itself."""
    owner, function = POINTS[name]
    original, left = getattr(owner, function), int(number)

    def killing(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, function, killing)
