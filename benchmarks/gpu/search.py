"""The search on images that stay on the device, against bare forwards."""

import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
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
from benchmarks.speed_cases import Setting, batch_of, build, model_config
from eavit_mm.analysis.latency import seconds
from eavit_mm.search.evaluations import read_evaluations
from eavit_mm.space import Subnet


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
    """Rounds in bfloat16, in TF32, and in float32, which is slow."""
    setting = setting_of(run)
    low, tf32 = ('bfloat16', 'highest', 16), ('float32', 'high', 8)
    rounds = [low, low, tf32, ('float32', 'highest', 8)]
    number = 2000
    if run.quick:
        rounds, number = [(*how[:2], 4) for how in (low, tf32)], 16
    images = batch_of(replace(setting, batch_size=number))['inputs']
    batches = images.split(setting.batch_size)
    warm = build(True, setting).eval()
    before = torch.get_float32_matmul_precision()
    for dtype, matmul, evaluations in rounds:
        # mmengine's runner leaves it as it is; our tools set the recipes'.
        torch.set_float32_matmul_precision(matmul)
        _bare(run, warm, batches[:1], dtype, [warm.backbone.space.largest])
        with tempfile.TemporaryDirectory() as folder:
            cfg = config(setting, number, dtype, evaluations)
            runner = Runner.from_cfg(Config(dict(cfg, work_dir=folder)))
            runner.test()
            log = ''.join(p.read_text() for p in Path(folder).rglob('*.log'))
            _, members = read_evaluations(
                Path(folder, 'evaluations.jsonl'),
                runner.model.backbone.space,
            )
        rate = float(re.findall(r'([\d.]+) evaluations/s', log)[-1])
        subnets = [member.subnet for member in members]
        spent = _bare(run, runner.model, batches, dtype, subnets)
        bare = len(members) / spent
        run.add(
            dtype=dtype,
            matmul=matmul,
            images=number,
            evaluations=len(members),
            search=rate,
            bare=bare,
            ratio=rate / bare,
        )
    torch.set_float32_matmul_precision(before)


def _bare(
    run: Run, model: Any, batches: Any, dtype: str, subnets: Sequence[Subnet]
) -> float:
    """Seconds of the forwards of subnets, and of nothing else."""
    kind, is_low = getattr(torch, dtype), dtype != 'float32'
    device = torch.device(run.device)
    with torch.autocast(run.device, kind, enabled=is_low):
        return sum(
            seconds(lambda s=subnet: forward(model, batches, s), device)
            for subnet in subnets
        )


def config(
    setting: Setting, number: int, dtype: str, evaluations: int
) -> dict[str, Any]:
    """A search over random images."""
    network = setting.network
    return dict(
        default_scope='mmpretrain',
        experiment_name=f'search_{dtype}_{time.time_ns()}',
        model=model_config(True, network),
        test_dataloader=dict(
            batch_size=setting.batch_size,
            num_workers=0,
            dataset=dict(
                type='RandomImages',
                number=number,
                size=network.size,
                classes=network.classes,
            ),
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
