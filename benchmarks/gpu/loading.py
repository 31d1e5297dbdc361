"""Training from JPEG files: does the loader keep up with the steps?"""

import tempfile
import traceback
from argparse import Namespace
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
from eavit_mm.engine.cli import load_config
from eavit_mm.space.samplers import FixedListSampler

RECIPE = 'configs/eavit/vitb_flowers.py'
# Workers, and whether their batches are pinned: the recipe's own first.
LOADERS = ((8, True), (16, True), (8, False), (4, True))
QUICK = ((1, True), (2, False))
# Of the step that waits for nothing.
KEEPS_UP = 0.95


def loading(run: Run) -> None:
    """Images per second of loader, step, and both, by workers.

    Raises:
        RuntimeError: At the end, names the loaders that did not run: many
            workers may need more shared memory than there is.
    """
    setting = setting_of(run)
    cfg = recipe()
    cv2.setNumThreads(0)  # as a run of the recipe does
    init_default_scope('mmpretrain')
    model = build(True, setting, data_preprocessor=cfg.data_preprocessor)
    # One network in all steps, which are compared.
    model.sampler = FixedListSampler(['largest'])
    optimizer = optimizer_of(model, setting)
    model.train()

    def step(batch: Any) -> None:
        model.train_step(batch, optimizer)

    failed = []
    with tempfile.TemporaryDirectory() as name:
        files, shape = (16, (75, 100)) if run.quick else (512, (375, 500))
        write_photos(Path(name), files, shape)
        for workers, is_pinned in QUICK if run.quick else LOADERS:
            # Where there is no GPU the recipe pins nothing either.
            is_pinned = is_pinned and cfg.train_dataloader.pin_memory
            try:
                # Nothing else holds the loader: its workers end with it.
                options = (cfg, name, workers, is_pinned, setting)
                rates = _rates(make_loader(*options), setting, step)
            except Exception as error:
                traceback.print_exc()
                failed.append(f'{workers} workers: {error}')
                continue
            run.add(
                workers=workers,
                pinned=is_pinned,
                batch_size=setting.batch_size,
                **{name: round(rate, 1) for name, rate in rates.items()},
                keeps_up=rates['together'] >= KEEPS_UP * rates['step'],
            )
    if failed:
        raise RuntimeError('; '.join(failed))


def recipe() -> Config:
    """As tools/train.py runs it."""
    args = dict(config=str(ROOT / RECIPE), launcher='none', work_dir=None)
    options = Namespace(**args, local_rank=0, no_pin_memory=False)
    return load_config(options, persistent_workers=True)


def _rates(
    loader: Any, setting: Setting, step: Callable[[Any], None]
) -> dict[str, float]:
    """Images per second."""
    device, ahead = torch.device(setting.device), 2 * loader.num_workers
    batches = iter(loader)
    first = next(batches)
    for _ in range(2):  # warms up
        step(first)
    spent = dict(
        # What workers hold ahead comes for nothing: it is not timed.
        loader=_seconds(batches, ahead, ahead, device),
        step=min(seconds(lambda: step(first), device) for _ in '1234'),
        together=_seconds(batches, ahead, ahead, device, step),
    )
    return {name: setting.batch_size / s for name, s in spent.items()}


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
    cfg: Config, folder: str, workers: int, is_pinned: bool, setting: Setting
) -> Any:
    """The recipe's loader over these files, each many times an epoch."""
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline[1].scale = setting.network.size
    photos = dict(type='CustomDataset', data_root=folder, pipeline=pipeline)
    loader = {
        **cfg.train_dataloader,
        'batch_size': setting.batch_size,
        'num_workers': workers,
        'pin_memory': is_pinned,
        'dataset': dict(type='RepeatDataset', dataset=photos, times=200),
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
