"""Oxford 102 Flowers with a message that helps when it is not there."""

from pathlib import Path
from typing import Any

from mmpretrain.datasets import Flowers102 as _Flowers102

from eavit_mm.registry import DATASETS

FILES = ('jpg', 'imagelabels.mat', 'setid.mat')
SOURCE = (
    'Get 102flowers.tgz (unpacks to jpg/), imagelabels.mat and setid.mat '
    'from www.robots.ox.ac.uk/~vgg/data/flowers/102 into this folder.'
)


@DATASETS.register_module()
class Flowers102(_Flowers102):
    """mmpretrain's data set, with a check of its files.

    Args:
        data_root: Folder with ``jpg/``, ``imagelabels.mat``, ``setid.mat``.
        split: 'train', 'val', 'trainval' or 'test'.
        **kwargs: Those of mmpretrain's ``Flowers102``.

    Raises:
        FileNotFoundError: Names the missing files and where to get them.
    """

    def __init__(
        self, data_root: str, split: str = 'trainval', **kwargs: Any
    ) -> None:
        missing = [n for n in FILES if not Path(data_root, n).exists()]
        if missing:
            raise FileNotFoundError(
                f'Flowers-102: missing in {Path(data_root).absolute()}: '
                f'{", ".join(missing)}. {SOURCE}'
            )
        super().__init__(data_root, split=split, **kwargs)
