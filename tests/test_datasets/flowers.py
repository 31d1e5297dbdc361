"""Writes a tiny Oxford 102 Flowers in its real format on disk."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat


def write(
    root: Path,
    classes: int = 3,
    each: int = 6,
    size: tuple[int, int] = (40, 30),
    compressed: bool = True,
) -> list[int]:
    """Images, labels from 1 on, and the ids of the three splits.

    Of a class, the first image is in train, the second in val, and the rest
    in test: as in the original, most are.

    Returns:
        The labels, from 1 on, of images 1, 2, ...
    """
    (root / 'jpg').mkdir(parents=True)
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(1, classes + 1), each)
    rng.shuffle(labels)
    ids = dict(trnid=[], valid=[], tstid=[])
    seen = dict.fromkeys(range(1, classes + 1), 0)
    for number, label in enumerate(labels.tolist(), start=1):
        pixels = rng.integers(60, size=(size[1], size[0], 3), dtype=np.uint8)
        pixels[..., label % 3] += 150  # the class has a colour
        path = root / 'jpg' / f'image_{number:05d}.jpg'
        Image.fromarray(pixels).save(path)
        third = max(each // 3, 1)
        place = ('trnid', 'valid', 'tstid')[min(seen[label] // third, 2)]
        ids[place].append(number)
        seen[label] += 1
    for name, values in (
        ('imagelabels.mat', dict(labels=labels.astype(np.uint8)[None])),
        (
            'setid.mat',
            {k: np.array(v, np.uint16)[None] for k, v in ids.items()},
        ),
    ):
        savemat(root / name, values, do_compression=compressed)
    return labels.tolist()
