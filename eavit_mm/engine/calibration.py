"""Batches to calibrate with, taken without a trace."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.runner import Runner, set_random_seed
from torch.utils.data import DataLoader

# Batches that BatchNorms have their statistics of.
_NORM_BATCHES = 16


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
        trained = cfg.get('train_dataloader')
        if not kept and trained:
            # SyncBN trains on one image a process, with the others' beside.
            trained = {**trained, 'batch_size': max(trained['batch_size'], 2)}
            with preserved_random_state():
                set_random_seed(0)
                loader = Runner.build_dataloader(trained, 0)
                kept.extend(calibration_batches(loader, _NORM_BATCHES, 0))
        yield from kept

    return batches
