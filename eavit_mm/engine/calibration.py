"""Batches to calibrate with, taken without a trace."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader


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
    loader: Any, num_batches: int, seed: int
) -> Iterator[Any]:
    """The first batches of a shuffle of a loader's data.

    The loader itself is not iterated: its sampler and workers stay as they
    are.
    """
    size = loader.batch_size or 32
    order = np.random.default_rng(seed).permutation(len(loader.dataset))
    return iter(
        DataLoader(
            loader.dataset,
            batch_size=size,
            sampler=order[: size * num_batches].tolist(),
            collate_fn=loader.collate_fn,
        )
    )
