"""Fashion-MNIST from the files that ship in packages, and Fashion-40."""

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmpretrain.datasets import FashionMNIST as _FashionMNIST
from mmpretrain.datasets.mnist import read_sn3_pascalvincent_tensor

from eavit_mm.registry import DATASETS

# Where Debian's package `dataset-fashion-mnist` puts the files.
PACKAGE_ROOT = '/usr/share/datasets/fashion-mnist'
SOURCE = (
    'Get the four *-ubyte.gz files of Fashion-MNIST '
    '(github.com/zalandoresearch/fashion-mnist) into this folder, or '
    '`apt-get install dataset-fashion-mnist`.'
)


@DATASETS.register_module()
class FashionMNIST(_FashionMNIST):
    """mmpretrain's data set, from compressed or plain files, no download.

    Differs from its parent: ``split`` alone decides which files are read;
    ``.gz`` files need no unpacking; if ``data_root`` lacks the files, the
    folder of Debian's package is tried; sample ids are stable.

    Args:
        data_root: Folder with the four idx files.
        split: 'train' (60,000 images) or 'test' (10,000).
        **kwargs: Those of mmpretrain's ``FashionMNIST``.

    Raises:
        FileNotFoundError: Names the missing files and where to get them.
    """

    def __init__(
        self, data_root: str, split: str = 'train', **kwargs: Any
    ) -> None:
        options = dict(download=False, test_mode=split == 'test')
        super().__init__(data_root, split=split, **options, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Images (28, 28) uint8, labels, and ids such as 'train/00012'."""
        images, labels = (
            read_sn3_pascalvincent_tensor(str(path)).numpy()
            for path in self._find_files()
        )
        return [
            dict(
                img=image,
                gt_label=int(label),
                sample_id=f'{self.split}/{index:05d}',
            )
            for index, (image, label) in enumerate(
                zip(images, labels, strict=True)
            )
        ]

    def _find_files(self) -> list[Path]:
        """Images and labels, unpacked where they are, else compressed."""
        both = self.train_list if self.split == 'train' else self.test_list
        root = Path(self.data_prefix['root'])
        missing: list[str] = []
        for folder in (root, Path(PACKAGE_ROOT)):
            plain = [folder / name.removesuffix('.gz') for name, _ in both]
            files = [p if p.exists() else Path(f'{p}.gz') for p in plain]
            lacking = [path.name for path in files if not path.exists()]
            if not lacking:
                if missing:
                    text = f'Fashion-MNIST: not in {root}, read from {folder}'
                    print_log(text, logger='current')
                return files
            missing = missing or lacking
        raise FileNotFoundError(
            f'Fashion-MNIST: missing in {root.absolute()}: '
            f'{", ".join(missing)}. {SOURCE}'
        )


@DATASETS.register_module()
class Fashion40(FashionMNIST):
    """Fashion-MNIST with 40 labels: class x rotation by 0, 90, 180, 270.

    Ten-way Fashion-MNIST is too easy to tell methods apart. Each image is
    drawn once, with a rotation of its own; the label is
    ``4 * class + quarter turns``.

    Args:
        *args: Those of :class:`FashionMNIST`.
        rotation_seed: Seed of the rotations.
        **kwargs: Likewise.
    """

    METAINFO = {
        'classes': tuple(
            f'{name} {90 * turn}'
            for name in _FashionMNIST.METAINFO['classes']
            for turn in range(4)
        )
    }

    def __init__(
        self, *args: Any, rotation_seed: int = 0, **kwargs: Any
    ) -> None:
        self.rotation_seed = rotation_seed
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """The parent's list with images rotated and labels refined."""
        data_list = super().load_data_list()
        rng = np.random.default_rng([self.rotation_seed, self.split == 'test'])
        turns = rng.integers(4, size=len(data_list))
        for info, turn in zip(data_list, turns.tolist(), strict=True):
            info['img'] = np.ascontiguousarray(np.rot90(info['img'], turn))
            info['gt_label'] = 4 * info['gt_label'] + turn
        return data_list
