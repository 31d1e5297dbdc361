"""Data of one purpose must not serve another."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from hashlib import sha256
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from eavit_mm.datasets.samples import samples_of


def sample_ids(dataset: Any) -> set[str]:
    """What identifies the samples of a data set.

    Their ``sample_id``, or several of what is in one image; else the path of
    the image, however it is spelt, else its content.

    Raises:
        ValueError: If there is none of these.
    """
    ids: set[str] = set()
    for info in samples_of(dataset):
        if 'sample_id' in info:
            own = info['sample_id']
            ids.update(map(str, own if isinstance(own, tuple) else [own]))
        elif 'img_path' in info:
            path = str(info['img_path'])
            ids.add(path if '://' in path else os.path.realpath(path))
        elif 'img' in info:
            image = np.ascontiguousarray(info['img'])
            ids.add(sha256(image.tobytes()).hexdigest())
        else:
            raise ValueError(
                f'samples of {type(dataset).__name__} cannot be told apart: '
                f'they have {sorted(info)}; in a BaseDataset of mmengine, '
                'wrapped or not, one of sample_id, img_path or img is needed'
            )
    return ids


def check_disjoint(datasets: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` if two data sets share a sample.

    Args:
        datasets: What each is for ('train', 'search', 'test'), and it.
    """
    known: dict[str, set[str]] = {}
    for name, dataset in datasets.items():
        ids = sample_ids(dataset)
        for other, others in known.items():
            shared = sorted(ids & others)
            if shared:
                raise ValueError(
                    f'the {name} data and the {other} data share '
                    f'{len(shared)} samples, such as {shared[0]!r}: keep '
                    "them apart, for example with type='eavit_mm.Split'"
                )
        known[name] = ids


@contextmanager
def images_found(place: str = '') -> Iterator[None]:
    """Tells what is wrong where a data set that is built has no image."""
    try:
        yield
    except ValueError as error:
        if 'need at least one array' not in str(error):
            raise
        raise ValueError(  # mmengine's packs an empty list
            f'{place}no image found: are data_root, data_prefix, img_suffix '
            'and ann_file those of the files there are?'
        ) from error


def disjoint_data(cfg: Config) -> dict[str, Any]:
    """The data sets to train on, to test on and to search on.

    Raises:
        ValueError: If two share a sample.
    """
    search = 'search' if 'search_dataloader' in cfg else 'val'
    names = dict(train='train', test='test', search=search)
    loaders = {k: cfg.get(f'{name}_dataloader') for k, name in names.items()}
    # Building takes a config apart.
    built = {}
    for name, loader in loaders.items():
        if loader:
            with images_found(f'{names[name]}_dataloader: '):
                built[name] = DATASETS.build(deepcopy(loader['dataset']))
    check_disjoint(built)
    return built
