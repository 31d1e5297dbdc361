"""Subnets trained by several processes: gradients are the ranks' mean."""

import copy
import os
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from segmentors import batch_of as segments_of
from segmentors import config, segmentor
from steps import gradients
from toys import SCALA, batch_of, classifier

from eavit_mm.models import ElasticDistributedDataParallel

WORLD, STEPS = 2, 2
UNIFORM = dict(type='eavit_mm.UniformSampler')
ROUTER = dict(type='eavit_mm.RouterHead')
SANDWICH = dict(type='eavit_mm.SandwichSampler', num_others=2)
# Half of all draws have up to six branches off; the ranks' may differ.
CLASSIFIERS: dict[str, dict[str, Any]] = {
    'one subnet': dict(sampler=UNIFORM),
    'several subnets': dict(sampler=dict(UNIFORM, num=3)),
    'a draw per rank': dict(sampler=UNIFORM, draw_per_rank=True),
    'several per rank': dict(sampler=dict(UNIFORM, num=3), draw_per_rank=True),
    'sandwich': dict(
        sampler=SANDWICH,
        distillation=dict(type='eavit_mm.InPlaceDistillation'),
    ),
    'accumulated': dict(sampler=dict(UNIFORM, num=2), accumulative_counts=2),
    'scala': dict(
        sampler=dict(type='eavit_mm.StableSampler'),
        distillation=dict(type='eavit_mm.ProgressiveDistillation'),
        backbone=dict(space=SCALA),
    ),
    'router': dict(router=ROUTER),
    'router, passes of both kinds': dict(
        router=dict(ROUTER, gated_every=2, passes=2)
    ),
    'router per rank': dict(
        router=dict(ROUTER, gated_every=2), draw_per_rank=True
    ),
}
# With dropout, and auxiliary heads that read levels of their own.
CASES = CLASSIFIERS | {
    'segmentor': dict(flow='mla', sampler=dict(UNIFORM, num=2)),
    'segmentor, router': dict(
        flow='setr_naive', router=dict(ROUTER, gated_every=2, passes=2)
    ),
}


class Recorder(OptimWrapper):
    """Takes its steps, and remembers the gradients of each."""

    def __init__(self, model: Any, counts: int) -> None:
        # Momentum remembers every mistake, so does decay.
        optimizer = torch.optim.AdamW(
            model.parameters(), 0.02, eps=1e-4, weight_decay=3.0
        )
        super().__init__(optimizer, accumulative_counts=counts)
        self.model = model
        self.steps: list[list[torch.Tensor]] = []

    def step(self, **kwargs: Any) -> None:
        self.steps.append([*gradients(self.model).values()])
        super().step(**kwargs)


def mean_over_ranks(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    for tensor in tensors:
        dist.all_reduce(tensor)
    return [tensor / dist.get_world_size() for tensor in tensors]


def differences(
    cfg: dict[str, Any], seed: int, device: str
) -> dict[str, float]:
    """How far this rank is from the mean, step by step, and from rank 0.

    A copy of the model, not distributed, takes each step's batches anew from
    the same weights; its gradients are averaged here.
    """
    cfg = dict(cfg)
    counts = cfg.pop('accumulative_counts', 1)
    MessageHub.get_current_instance().update_info('seed', seed)
    flow = cfg.pop('flow', None)
    model = (
        segmentor(config(flow, **cfg)).train() if flow else classifier(**cfg)
    )
    model.to(device)
    wrapper = ElasticDistributedDataParallel(model)
    recorder = Recorder(wrapper, counts)
    worst, largest = 0.0, 0.0
    for step in range(STEPS):
        twin = copy.deepcopy(model)
        alone = Recorder(twin, counts)
        alone._inner_count = recorder.inner_count
        for part in range(counts):
            number = (step * counts + part) * dist.get_world_size()
            number += get_rank()
            number += 100 * seed
            data = segments_of(number) if flow else batch_of(number)
            for each, optimizer in ((wrapper, recorder), (twin, alone)):
                torch.manual_seed(number)  # of dropout
                each.train_step(data, optimizer)
        expected = mean_over_ranks(alone.steps[-1])
        for ours, mean in zip(recorder.steps[-1], expected, strict=True):
            worst = max(worst, (ours - mean).abs().max().item())
            largest = max(largest, mean.abs().max().item())
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    first = weights.clone()
    dist.broadcast(first, 0)
    return dict(
        steps=len(recorder.steps),
        error=worst,
        scale=largest,
        from_rank_0=(weights - first).abs().max().item(),
    )


def child(
    rank: int,
    folder: Path,
    world: int = WORLD,
    backend: str = 'gloo',
    device: str = 'cpu',
) -> None:
    """One rank; writes what it found into the folder."""
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / 'store'), world)
    dist.init_process_group(
        backend,
        store=store,
        rank=rank,
        world_size=world,
        timeout=timedelta(minutes=2),  # a hang is an error
    )
    found = {
        name: differences(cfg, seed, device)
        for seed, (name, cfg) in enumerate(CASES.items())
    }
    torch.save(found, folder / f'rank{rank}.pth')
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def results(tmp_path_factory: Any) -> list[dict[str, Any]]:
    """What each rank found, case by case."""
    folder = tmp_path_factory.mktemp('ddp')
    pids = []
    for rank in range(WORLD):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                child(rank, folder)
                status = 0
            except BaseException:
                (folder / f'error{rank}').write_text(traceback.format_exc())
            finally:
                os._exit(status)
        pids.append(pid)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    errors = [path.read_text() for path in folder.glob('error*')]
    assert statuses == [0] * WORLD, '\n'.join(errors)
    return [torch.load(folder / f'rank{rank}.pth') for rank in range(WORLD)]


@pytest.mark.parametrize('case', CASES)
def test_gradients_are_the_mean_over_ranks_and_weights_stay_equal(
    case: str, results: list[dict[str, Any]]
) -> None:
    for found in results:
        check(found[case])


def check(found: dict[str, Any]) -> None:
    """What must hold on every rank."""
    assert found['steps'] == STEPS
    assert found['scale'] > 1e-2
    assert found['error'] < 1e-12 * max(1, found['scale'])
    assert found['from_rank_0'] == 0
