"""Data of one purpose must not serve another."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from eavit_mm.datasets.samples import samples_of


def sample_ids(dataset: Any) -> set[str]:
    """What identifies the samples of a data set.

    Their ``sample_id``, else the path of the image, however it is spelt, else
    its content.

    Raises:
        ValueError: If there is none of these.
    """
    return set(map(_id_of, samples_of(dataset)))


def _id_of(info: Mapping[str, Any]) -> str:
    if 'sample_id' in info:
        return str(info['sample_id'])
    if 'img_path' in info:
        return _file_of(str(info['img_path']))
    if 'img' in info:
        image = np.ascontiguousarray(info['img'])
        return sha256(image.tobytes()).hexdigest()
    raise ValueError(
        f'samples cannot be told apart: they have {sorted(info)}; one of '
        'sample_id, img_path or img is needed'
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
            a data set, or to what was built of one.

    Raises:
        ValueError: Names both, how many samples they share, and the first.
    """
    known: dict[str, set[str]] = {}
    for name, cfg in configs.items():
        is_cfg = isinstance(cfg, Mapping)
        ids = sample_ids(DATASETS.build(cfg) if is_cfg else cfg)
        for other, others in known.items():
            shared = sorted(ids & others)
            if shared:
                raise ValueError(
                    f'the {name} data and the {other} data share '
                    f'{len(shared)} samples, such as {shared[0]!r}: keep '
                    "them apart, for example with type='eavit_mm.Split'"
                )
        known[name] = ids


def datasets_of(cfg: Config) -> dict[str, Any]:
    """Configs of the data to train on, to search on, and to test on."""
    search = 'search' if 'search_dataloader' in cfg else 'val'
    names = dict(train='train', test='test', search=search)
    loaders = {k: cfg.get(f'{name}_dataloader') for k, name in names.items()}
    return {k: deepcopy(v['dataset']) for k, v in loaders.items() if v}
