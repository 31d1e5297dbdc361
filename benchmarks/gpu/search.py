"""The search on images that stay on the device, against bare forwards."""

import re
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from benchmarks.gpu.run import Run
from benchmarks.gpu.timing import setting_of
from benchmarks.search_speed import forward
from benchmarks.speed_cases import Network, model_config
from eavit_mm.analysis.latency import seconds
from eavit_mm.search.evaluations import read_evaluations


@DATASETS.register_module()
class RandomImages(Dataset):
    """Images of 8 bits, as a pipeline leaves them: (3, size, size)."""

    def __init__(self, number: int, size: int, classes: int) -> None:
        rng = torch.Generator().manual_seed(0)
        shape = (number, 3, size, size)
        self.images = torch.randint(
            256, shape, generator=rng, dtype=torch.uint8
        )
        self.classes = classes
        self.metainfo = dict(classes=[str(i) for i in range(classes)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = DataSample().set_gt_label(index % self.classes)
        return dict(inputs=self.images[index], data_samples=sample)


def search(run: Run) -> None:
    """Rounds in bfloat16, one in float32, which is slow."""
    rounds = (('bfloat16', 16), ('bfloat16', 16), ('float32', 8))
    if run.quick:
        rounds = (('bfloat16', 4),)
    number = 16 if run.quick else 2000
    batch_size = setting_of(run).batch_size
    network = setting_of(run).network
    shape = (batch_size, 3, network.size, network.size)
    images = [
        torch.rand(shape, device=run.device)[: number - begin]
        for begin in range(0, number, batch_size)
    ]
    for index, (dtype, evaluations) in enumerate(rounds):
        with tempfile.TemporaryDirectory() as folder:
            cfg = config(network, number, batch_size, dtype, evaluations)
            cfg.work_dir = folder
            cfg.experiment_name = f'search_{index}'
            start = time.perf_counter()
            runner = Runner.from_cfg(cfg)
            runner.test()
            whole = time.perf_counter() - start
            run.add(**_compared(runner, images, dtype, run.device))
        run.rows[-1].update(images=number, whole_seconds=round(whole, 1))
        run.show(run.rows)


def _compared(
    runner: Runner, images: list[torch.Tensor], dtype: str, device: str
) -> dict[str, Any]:
    """Evaluations per second by the search's log, and of bare forwards."""
    folder, model = Path(runner.work_dir), runner.model
    space = model.backbone.space
    _, members = read_evaluations(folder / 'evaluations.jsonl', space)
    log = ''.join(path.read_text() for path in folder.rglob('*.log'))
    rate = float(re.findall(r'([\d.]+) evaluations/s', log)[-1])
    kind = getattr(torch, dtype)
    with torch.autocast(device, kind, enabled=dtype != 'float32'):
        spent = sum(
            seconds(
                lambda s=member.subnet: forward(model, images, s),
                torch.device(device),
            )
            for member in members
        )
    bare = len(members) / spent
    return dict(
        dtype=dtype,
        evaluations=len(members),
        search=rate,
        bare=round(bare, 3),
        ratio=round(rate / bare, 3),
    )


def config(
    network: Network,
    number: int,
    batch_size: int,
    dtype: str,
    evaluations: int,
) -> Config:
    """A search over random images."""
    data = dict(
        type='RandomImages',
        number=number,
        size=network.size,
        classes=network.classes,
    )
    return Config(
        dict(
            default_scope='mmpretrain',
            model=model_config(True, network),
            test_dataloader=dict(
                batch_size=batch_size,
                num_workers=0,
                dataset=data,
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='default_collate'),
            ),
            test_evaluator=dict(type='Accuracy', topk=(1,)),
            test_cfg=dict(
                type='eavit_mm.ParetoSearchLoop',
                metric='accuracy/top1',
                algorithm=dict(type='eavit_mm.NSGA2', pop_size=8),
                max_evaluations=evaluations,
                dtype=dtype,
                seed=0,
            ),
        )
    )
