"""The 1,797 handwritten digits that ship with scikit-learn."""

from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset

from eavit_mm.registry import DATASETS

TESTED = 45  # images of each class


@DATASETS.register_module()
class Digits(BaseDataset):
    """scikit-learn's ``load_digits``: real 8x8 scans, ten classes.

    scikit-learn gives no official split; ours is seeded and balanced by
    class: 1,347 images to train on and 450 to test on.

    Args:
        split: 'train' or 'test'.
        **kwargs: Those of mmpretrain's ``BaseDataset``.

    Raises:
        ValueError: If ``split`` is neither.
    """

    METAINFO = {'classes': tuple('0123456789')}

    def __init__(self, split: str = 'train', **kwargs: Any) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f"split={split!r}; must be 'train' or 'test'")
        self.split = split
        super().__init__(ann_file='', test_mode=split == 'test', **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Images (8, 8) uint8 in 0..255, labels, ids such as '00012'."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        # Pixels are counts from 0 to 16.
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)
        order = np.random.default_rng(0).permutation(len(images))
        by_class = [order[digits.target[order] == k] for k in range(10)]
        kept = slice(TESTED) if self.split == 'test' else slice(TESTED, None)
        indices = np.concatenate([each[kept] for each in by_class])
        return [
            dict(
                img=images[index],
                gt_label=int(digits.target[index]),
                sample_id=f'{index:05d}',
            )
            for index in np.sort(indices).tolist()
        ]
