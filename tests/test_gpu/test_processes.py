"""Several processes, or one that thinks so, on a GPU."""

import time
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from test_elastic_ddp import CASES, check, child

pytestmark = pytest.mark.gpu
# Seconds: a hang is an error. A CPU may be shared.
PATIENCE = dict(cuda=40, cpu=120)


@pytest.mark.parametrize(
    ('world', 'backend'),
    [(1, 'nccl'), (2, 'gloo')],
    ids=['nccl, one process', 'gloo, two on one device'],
)
def test_gradients_are_the_mean_over_ranks(
    world: int, backend: str, tmp_path: Path, device: str
) -> None:
    backend = 'gloo' if device == 'cpu' else backend
    context = get_context('spawn')  # a fork does not take CUDA along
    options = (tmp_path, world, backend, device)
    ranks = [
        context.Process(target=child, args=(rank, *options))
        for rank in range(world)
    ]
    end = time.monotonic() + PATIENCE[device]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(max(end - time.monotonic(), 0))
    statuses = [process.exitcode for process in ranks]
    for process in ranks:
        process.kill()
    assert statuses == [0] * world
    for rank in range(world):
        found = torch.load(tmp_path / f'rank{rank}.pth')
        assert found.keys() == CASES.keys()
        for case in CASES:
            check(found[case])
