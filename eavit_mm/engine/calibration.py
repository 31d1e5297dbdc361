"""Batches to calibrate with, taken without a trace."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner, set_random_seed
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from eavit_mm.analysis.latency import image_size
from eavit_mm.export.config import datasets_in

# Batches that BatchNorms have their statistics of.
_NORM_BATCHES = 16
# Where a config that trains nothing, as of a search, keeps its training data.
KEPT = 'calibration_dataloader'
_OF_TRAINING = (
    'train_dataloader',
    'train_cfg',
    'optim_wrapper',
    'param_scheduler',
)


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Puts all generators back, so that training draws what it would have."""
    state = random.getstate(), np.random.get_state()  # noqa: NPY002
    # All GPUs of a machine by default, with a warning.
    own = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(own):
            yield
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])  # noqa: NPY002


def calibration_batches(
    loader: Any, num_batches: int, seed: int, size: int | None = None
) -> Iterator[Any]:
    """The first batches of a shuffle of a loader's data, of its own size.

    The loader itself is not iterated: its sampler and workers stay as they
    are. No batch is smaller than the others: one image may have no variance.
    """
    size = size or loader.batch_size or 32
    order = np.random.default_rng(seed).permutation(len(loader.dataset))
    return iter(
        DataLoader(
            loader.dataset,
            batch_size=size,
            sampler=order[: size * num_batches].tolist(),
            collate_fn=loader.collate_fn,
            drop_last=len(order) > size,
        )
    )


def norm_batches(cfg: Mapping[str, Any]) -> Callable[[], Iterator[Any]]:
    """What gives a model its ``norm_batches``: training data of a config.

    They are read when first asked for, and are the same each time: a subnet
    is measured the same on any rank, and after an interruption.
    """
    kept: list[Any] = []

    def batches() -> Iterator[Any]:
        trained = cfg.get('train_dataloader') or cfg.get(KEPT)
        if not kept and trained:
            # SyncBN trains on one image a process, with the others' beside.
            trained = {**trained, 'batch_size': max(trained['batch_size'], 2)}
            with preserved_random_state():
                set_random_seed(0)
                loader = Runner.build_dataloader(trained, 0)
                kept.extend(calibration_batches(loader, _NORM_BATCHES, 0))
        yield from kept

    return batches


def leave_out_training(cfg: Config) -> None:
    """Drops what trains from a config, in place.

    A runner would ask for all of it. The images stay, as what norms
    and neighbours are measured on.
    """
    cfg[KEPT] = cfg.get('train_dataloader') or cfg.get(KEPT)
    for key in _OF_TRAINING:
        cfg[key] = None


def plain_training_data(cfg: Mapping[str, Any], asked_by: str) -> Any:
    """Config of a loader: training images, as test images are seen.

    In the order of the data set, each once.

    Args:
        cfg: Of a run; ``train_dataloader`` has the images, and
            ``test_dataloader`` or else ``val_dataloader`` the pipeline.
        asked_by: Who needs them, for the message.

    Raises:
        ValueError: If one of them has no pipeline.
    """
    trained: Any = cfg.get('train_dataloader') or cfg.get(KEPT) or {}
    trained = deepcopy(trained)
    tested = cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}
    theirs, own = (
        [data for data in datasets_in(part) if data.get('pipeline')]
        for part in (tested, trained)
    )
    if not own or not theirs:
        missing = 'test_dataloader' if own else 'train_dataloader'
        raise ValueError(
            f'{asked_by} needs the training images as test images are seen; '
            f'{missing} of the config has no data set with a pipeline'
        )
    for data in own:
        data['pipeline'] = theirs[0]['pipeline']
    for name in ('batch_sampler', 'drop_last', 'dataset_sampler'):
        trained.pop(name, None)
    sampler = dict(type='DefaultSampler', shuffle=False)
    return {**trained, 'batch_size': tested['batch_size'], 'sampler': sampler}


def normalised_images(model: Any, batches: Iterable[Any], num: int) -> Tensor:
    """The first images of some batches, normalised, of the network's size."""
    found: list[Tensor] = []
    for data in batches:
        inputs = model.data_preprocessor(data, False)['inputs']
        # Segmentors see images of any size; a graph is of one.
        size = image_size(model)[1:]
        found.extend(
            interpolate(inputs, size, mode='bilinear', antialias=True)
        )
        if len(found) >= num:
            break
    return torch.stack(found[:num])


def unlabelled_images(
    cfg: Mapping[str, Any],
    model: Any,
    num: int,
    asked_by: str,
    fewer: bool = False,
) -> Tensor:
    """Training images, drawn once and for all, as test images are seen.

    Raises:
        ValueError: If there are fewer, unless these will do.
    """
    data = plain_training_data(cfg, asked_by)
    loader = Runner.build_dataloader(data, seed=0)
    if num > len(loader.dataset) and not fewer:
        raise ValueError(
            f'{asked_by}: the training data have {len(loader.dataset)} '
            'images; must not be more'
        )
    # One by one: those of segmentation may differ in size.
    batches = calibration_batches(loader, num, seed=0, size=1)
    return normalised_images(model, batches, num)
