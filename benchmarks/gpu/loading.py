"""Training from JPEG files: does the loader keep up with the steps?"""

import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from benchmarks.gpu.run import Run
from benchmarks.gpu.timing import setting_of
from benchmarks.pages import ROOT
from benchmarks.speed_cases import Setting, build, optimizer_of
from eavit_mm.analysis.latency import seconds

RECIPE = 'configs/eavit/vitb_flowers.py'
# Of the step that waits for nothing.
KEEPS_UP = 0.95


def loading(run: Run) -> None:
    """Images per second of loader, step, and both, by workers."""
    setting = setting_of(run)
    cfg = Config.fromfile(ROOT / RECIPE)
    cv2.setNumThreads(0)  # as a run of the recipe does
    init_default_scope('mmpretrain')
    model = build(True, setting, data_preprocessor=cfg.data_preprocessor)
    optimizer = optimizer_of(model, setting)
    device = torch.device(run.device)
    model.train()

    def step(batch: Any) -> None:
        model.train_step(batch, optimizer)

    with tempfile.TemporaryDirectory() as name:
        files, shape = (16, (75, 100)) if run.quick else (512, (375, 500))
        write_photos(Path(name), files, shape)
        for workers in (1, 2) if run.quick else (16, 8, 4):
            loader = make_loader(cfg, name, workers, setting)
            batches = iter(loader)
            first = next(batches)
            for _ in range(2):  # warms up
                step(first)
            own = min(seconds(lambda b=first: step(b), device) for _ in '1234')
            # What workers hold ahead comes for nothing: it is not timed.
            alone = _seconds(batches, 2 * workers, 2 * workers, device)
            both = _seconds(batches, workers, 2 * workers, device, step)
            rates = [
                setting.batch_size / spent for spent in (alone, own, both)
            ]
            names = ('loader', 'step', 'together')
            run.add(
                workers=workers,
                batch_size=setting.batch_size,
                **{n: round(r, 1) for n, r in zip(names, rates, strict=True)},
                keeps_up=rates[2] >= KEEPS_UP * rates[1],
            )
            del batches, loader  # ends the workers


def write_photos(folder: Path, number: int, shape: tuple[int, int]) -> None:
    """JPEG files in ten classes, of about as many bytes as photos have."""
    rng = np.random.default_rng(0)
    height, width = shape
    for index in range(number):
        coarse = rng.integers(256, size=(height // 16, width // 16, 3))
        image = cv2.resize(coarse.astype(np.float32), (width, height))
        image += rng.normal(0, 6, image.shape)
        path = folder / f'class{index % 10}' / f'{index}.jpg'
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), image.clip(0, 255).astype(np.uint8))


def make_loader(
    cfg: Config, folder: str, workers: int, setting: Setting
) -> Any:
    """The recipe's loader over these files, each many times an epoch."""
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline[1].scale = setting.network.size
    photos = dict(type='CustomDataset', data_root=folder, pipeline=pipeline)
    loader = {
        **cfg.train_dataloader,
        'batch_size': setting.batch_size,
        'num_workers': workers,
        'dataset': dict(type='RepeatDataset', dataset=photos, times=200),
        'collate_fn': dict(type='default_collate'),
    }
    return Runner.build_dataloader(loader, seed=0)


def _seconds(
    batches: Iterator[Any],
    before: int,
    number: int,
    device: torch.device,
    step: Callable[[Any], None] = lambda batch: None,
) -> float:
    """Of a batch and the step on it, after some that are not timed."""

    def draw(many: int) -> None:
        for batch in islice(batches, many):
            step(batch)

    draw(before)
    return seconds(lambda: draw(number), device) / number
