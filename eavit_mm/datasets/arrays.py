"""Sets of small images in memory, as they are published.

Colours are in the order blue, green, red, as whatever reads image files gives
them: what learns from these sets can be given files as well.
"""

from pathlib import Path
from typing import Any

import numpy as np
from mmpretrain.datasets import CIFAR10 as _CIFAR10
from mmpretrain.datasets import CIFAR100 as _CIFAR100
from mmpretrain.datasets import BaseDataset
from scipy.io import loadmat

from eavit_mm.options import check_choice
from eavit_mm.registry import DATASETS


def samples_in(images: Any, labels: Any, split: str) -> list[dict[str, Any]]:
    """A sample for each image: blue first, label, and an id.

    By ids such as 'train/00012' images are told apart that are equal.

    Args:
        images: (N, H, W, 3) uint8, red first, or gray (N, H, W).
        labels: (N,) or (N, 1).
        split: Which part of the set they are.

    Raises:
        ValueError: If they are others.
    """
    number, *size = np.shape(images) or (0,)
    if len(size) == 2:
        images, size = np.repeat(images[..., None], 3, -1), [*size, 3]
    is_image = images.dtype == np.uint8 and len(size) == 3 and size[2] == 3
    is_label = labels.shape in ((number,), (number, 1))
    if not (number and is_image and is_label and labels.dtype.kind in 'iu'):
        raise ValueError(
            f'images {images.dtype} {(number, *size)}, labels {labels.dtype} '
            f'{labels.shape}; must be uint8 (N, height, width[, 3]), and one '
            'integer for each image'
        )
    images = np.ascontiguousarray(images[..., ::-1])
    pairs = zip(images, labels.ravel().tolist(), strict=True)
    return [
        dict(img=image, gt_label=label, sample_id=f'{split}/{index:05d}')
        for index, (image, label) in enumerate(pairs)
    ]


class _OfFiles:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        own = dict(download=False)
        super().__init__(*args, **own, **kwargs)

    def load_data_list(self: Any) -> list[dict[str, Any]]:
        """Images (32, 32, 3) uint8, labels and ids."""
        if not self._check_integrity():
            place = Path(self.data_prefix['root'], self.base_folder)
            raise FileNotFoundError(f'{place} is missing, or not whole')
        found: Any = super().load_data_list()  # type: ignore[misc]
        images, labels = zip(*map(dict.values, found), strict=True)
        return samples_in(np.array(images), np.array(labels), self.split)


@DATASETS.register_module()
class CIFAR10(_OfFiles, _CIFAR10):
    """mmpretrain's data set, blue first, with ids; no download."""


@DATASETS.register_module()
class CIFAR100(_OfFiles, _CIFAR100):
    """mmpretrain's data set, blue first, with ids; no download."""


class _OneFile(BaseDataset):
    """Images and labels of one file, which ``read`` unpacks.

    Args:
        split: One of ``SPLITS``.
        **kwargs: Those of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: Names the file, and where to get it.
        ValueError: If it is broken, or of other images or labels.
    """

    SPLITS: tuple[str, ...] = ()
    SOURCE = ''

    def __init__(self, split: str = 'train', **kwargs: Any) -> None:
        check_choice('split', split, self.SPLITS)
        self.split = split
        super().__init__(**dict(test_mode=split == 'test') | kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Images (H, W, 3) uint8, labels and ids."""
        path = Path(self.ann_file)
        if not path.is_file():
            text = f'{path.absolute()} is missing. Get it from {self.SOURCE}.'
            raise FileNotFoundError(text)
        try:
            images, labels = self.read()
            classes = self.metainfo.get('classes') or ()
            if classes and not 0 <= labels.min() <= labels.max() < len(
                classes
            ):
                raise ValueError(
                    f'labels from {labels.min()} to {labels.max()}; must be '
                    f'those of {len(classes)} classes'
                )
            return samples_in(images, labels, self.split)
        except Exception as error:  # of whatever unpacks it
            raise ValueError(
                f'{path}: {error!s:.200} (is it whole?)'
            ) from error

    def read(self) -> tuple[Any, Any]:
        """Images and labels of the file."""
        raise NotImplementedError


@DATASETS.register_module()
class SVHN(_OneFile):
    """Street View House Numbers, cropped to one digit (32 x 32 pixels).

    ``data_root`` is the folder of ``train_32x32.mat`` (73,257 images) and
    ``test_32x32.mat`` (26,032); a third split is 'extra'.
    """

    METAINFO = {'classes': tuple('0123456789')}
    SPLITS, SOURCE = (
        ('train', 'test', 'extra'),
        'ufldl.stanford.edu/housenumbers',
    )

    def __init__(self, split: str = 'train', **kwargs: Any) -> None:
        super().__init__(split, ann_file=f'{split}_32x32.mat', **kwargs)

    def read(self) -> tuple[Any, Any]:
        """The label of a zero is 10 there."""
        found = loadmat(self.ann_file, variable_names=['X', 'y'])
        label = np.where(found['y'] == 10, 0, found['y'])
        return found['X'].transpose(3, 0, 1, 2), label


@DATASETS.register_module()
class MedMNIST(_OneFile):
    """A set of MedMNIST with one label an image, of any size.

    ``ann_file`` is such as 'pathmnist.npz' or 'dermamnist_64.npz'.
    """

    SPLITS, SOURCE = ('train', 'val', 'test'), 'zenodo.org/records/10519652'

    def read(self) -> tuple[Any, Any]:
        """No object in the file is read."""
        with np.load(self.ann_file, allow_pickle=False) as found:
            kinds = (f'{self.split}_{kind}' for kind in ('images', 'labels'))
            images, labels = (found[kind] for kind in kinds)
            return images, labels
