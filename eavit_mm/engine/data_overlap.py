"""Data of one purpose must not serve another."""

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS


def sample_ids(dataset: Any) -> set[str]:
    """What identifies the samples of a data set.

    Their ``sample_id``, else the path of the image, however it is spelt, else
    its content.

    Raises:
        ValueError: If there is none of these.
    """
    if not isinstance(dataset, BaseDataset):
        inner = getattr(dataset, 'dataset', None)
        parts = getattr(dataset, 'datasets', None) or [inner]
        if parts == [None]:
            raise ValueError(
                'search: samples of this data set cannot be told apart: '
                f'{type(dataset).__name__} is no BaseDataset of mmengine nor '
                'wraps one; with that, one of sample_id, img_path or img is '
                'needed'
            )
        return set().union(*(sample_ids(part) for part in parts))
    dataset.full_init()
    return {_id_of(dataset.get_data_info(i)) for i in range(len(dataset))}


def _id_of(info: Mapping[str, Any]) -> str:
    if 'sample_id' in info:
        return str(info['sample_id'])
    if 'img_path' in info:
        return _file_of(str(info['img_path']))
    if 'img' in info:
        image = np.ascontiguousarray(info['img'])
        return sha256(image.tobytes()).hexdigest()
    raise ValueError(
        'search: samples of this data set cannot be told apart: they have '
        f'{sorted(info)}; one of sample_id, img_path or img is needed'
    )


def _file_of(path: str) -> str:
    """The file that a path leads to; a URL as it is."""
    if '://' in path:
        return path
    given = Path(path)
    found = _real_folder(Path.cwd() / given.parent) / given.name
    # A file may be a link too.
    return str(found.resolve() if found.is_symlink() else found)


@cache
def _real_folder(path: Path) -> Path:
    """Without links and dots; a folder of many images is looked up once."""
    return path.resolve()


def check_disjoint(configs: Mapping[str, Any]) -> None:
    """Raises if two data sets share a sample.

    Args:
        configs: What it is for ('train', 'search', 'test') to the config of
            a data set.

    Raises:
        ValueError: Names both, how many samples they share, and the first.
    """
    known: dict[str, set[str]] = {}
    for name, cfg in configs.items():
        ids = sample_ids(DATASETS.build(cfg))
        for other, others in known.items():
            shared = sorted(ids & others)
            if shared:
                raise ValueError(
                    f'the {name} data and the {other} data share '
                    f'{len(shared)} samples, such as {shared[0]!r}: keep '
                    "them apart, for example with type='eavit_mm.Split'"
                )
        known[name] = ids
