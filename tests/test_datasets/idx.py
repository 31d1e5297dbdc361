"""Writes images and labels in the format of MNIST's files."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np

FILES = dict(train='train', test='t10k')


def content(dataset: Any) -> list[dict[str, Any]]:
    """The samples of any data set, before its pipeline."""
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def names(split: str) -> list[str]:
    stem = FILES[split]
    return [f'{stem}-images-idx3-ubyte', f'{stem}-labels-idx1-ubyte']


def idx(values: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, values.ndim])
    sizes = b''.join(n.to_bytes(4, 'big') for n in values.shape)
    return head + sizes + values.astype(np.uint8).tobytes()


def toy(split: str, size: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Images (size, 28, 28), none equal to its own rotation, and labels."""
    rng = np.random.default_rng([7, split == 'test'])
    images = rng.integers(256, size=(size, 28, 28), dtype=np.uint8)
    return images, rng.integers(10, size=size, dtype=np.uint8)


def write(
    root: Path, compressed: bool, splits: tuple[str, ...] = ('train', 'test')
) -> Path:
    """All files of the data set."""
    root.mkdir(parents=True, exist_ok=True)
    for split in splits:
        for name, values in zip(names(split), toy(split), strict=True):
            if compressed:
                path = root / f'{name}.gz'
                path.write_bytes(gzip.compress(idx(values)))
            else:
                (root / name).write_bytes(idx(values))
    return root
