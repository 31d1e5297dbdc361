"""A folder of images in place of a config's data."""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from eavit_mm.datasets.image_folder import (
    by_folder,
    classes_in,
    copies_in,
    find_images,
)

# The part of the training images that becomes the search split, and the most
# images that it may have.
_SEARCH_SHARE, _MOST_SEARCHED = 0.1, 2000
# The part that becomes the test split where a folder has none.
_TEST_SHARE = 0.2
_LAYOUTS = 'train/CLASS/* and test/CLASS/* (or val), or CLASS/*'
# What folders of parts are called, in any case.
_ROLES = dict(train='train', training='train', test='test', testing='test')
_ROLES |= dict(val='val', valid='val', validation='val')
# What each loader is for; training validates on the images of the search, so
# that the test split is seen by nothing before the end.
_LOADERS = dict(train='train', val='search', search='search', test='test')


def use_image_folder(cfg: Config, folder: str | Path) -> None:
    """Takes a folder of images in place of a config's data, in place.

    A folder with ``train/CLASS/*`` and ``test/CLASS/*`` (or ``val``), or with
    ``CLASS/*`` alone, of which a seeded fifth becomes the test split; or one
    that holds nothing but such a folder. A tenth of the training images, at
    most 2,000, is kept for the search. Every part has images of every class.

    Args:
        cfg: The config of a classifier; keeps its pipelines, batch sizes and
            samplers.
        folder: Holds images of at least two classes.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it is not clear which folders are classes, a class has
            too few images, or train and test do not go together.
    """
    folder = Path(folder).absolute()  # stages may run elsewhere
    if not folder.is_dir():
        raise FileNotFoundError(
            f'--data {folder}: no such folder; must hold {_LAYOUTS}'
        )
    if not (cfg.get('model') or {}).get('head'):
        raise ValueError(f'--data: {cfg.filename} trains no classifier')
    images = find_images(folder)
    trained, tested = _find_parts(folder, images)
    classes = _classes_of(trained, images)
    if tested is None:
        _check_level(trained, classes)
    parts = _parts_of(trained, tested, classes)
    if tested is not None:
        _check_test(folder, classes, _classes_of(tested, images))
    for place in (cfg, cfg.model):
        if place.get('data_preprocessor'):
            place.data_preprocessor.num_classes = len(classes)
    cfg.model.head.num_classes = len(classes)
    # Whether a flip leaves their labels true is not known.
    cfg.pop('tta_pipeline', None)
    for name, part in _LOADERS.items():
        loader = cfg.get(f'{name}_dataloader')
        if loader is not None:
            pipeline = _pipeline_of(cfg, loader.dataset)
            loader.dataset = ConfigDict(deepcopy(parts[part]))
            loader.dataset.pipeline = pipeline


def _find_parts(
    folder: Path, images: Sequence[Path]
) -> tuple[Path, Path | None]:
    """The folders of classes: to train on, and to test on if there is one."""
    if not images:
        raise ValueError(
            f'--data {folder}: no image that can be read; must hold {_LAYOUTS}'
        )
    root = _root_of(folder, images)
    groups = by_folder(root, images)
    # A class may be called so too: its images lie in it.
    found = [
        name
        for name, paths in groups.items()
        if name.lower() in _ROLES
        and all(path.parent != root / name for path in paths)
    ]
    # Alone in its folder, a part is the root or above it.
    inner = root.relative_to(folder).parts
    parts = found or [name for name in inner if name.lower() in _ROLES]
    if not parts:
        return root, None
    roles = {_ROLES[name.lower()]: name for name in found}
    if len(roles) < max(len(parts), 2) or 'train' not in roles:
        raise ValueError(
            f'--data {folder}: has folders of classes in {parts}; must be '
            f'{_LAYOUTS}. To keep a fifth of the images of one folder for the '
            'test, give that folder'
        )
    used = roles['train'], roles.get('test') or roles['val']
    others = [name for name in groups if name not in used]
    if others:
        text = f'--data {folder}: left out, neither train nor test: {others}'
        print_log(text, logger='current', level=logging.WARNING)
    first, second = (_root_of(root / name, groups[name]) for name in used)
    return first, second


def _root_of(top: Path, images: Sequence[Path]) -> Path:
    """The deepest folder, from a top one on, with all images in folders."""
    root = Path(os.path.commonpath([path.parent for path in images]))
    is_class = root != top and any(path.parent == root for path in images)
    return root.parent if is_class else root


def _classes_of(root: Path, images: Sequence[Path]) -> dict[str, list[Path]]:
    """The images of each class, in a folder of classes."""
    inside = [path for path in images if str(path).startswith(f'{root}/')]
    classes = classes_in(root, inside)
    if len(classes) < 2:
        raise ValueError(
            f'--data {root}: images in the folders {list(classes)}; must be '
            'in one for each of at least two classes'
        )
    return classes


def _check_level(root: Path, classes: Mapping[str, Sequence[Path]]) -> None:
    """Raises if the folders may be parts, of which each has the classes."""
    inner: Counter[str] = Counter()
    for name, paths in classes.items():
        below = by_folder(_root_of(root / name, paths), paths)
        if sum(map(len, below.values())) == len(paths):
            inner.update(below.keys())
    shared = [name for name, number in inner.items() if number > 1]
    if len(shared) > 1:
        raise ValueError(
            f'--data {root}: the folders {list(classes)[:4]} hold the same '
            f'folders, {shared[:4]}: which are the classes? Give the folder '
            'of the classes, or name parts train and test'
        )


def _check_test(
    folder: Path,
    trained: Mapping[str, Sequence[Path]],
    tested: Mapping[str, Sequence[Path]],
) -> None:
    """Raises unless the test has the same classes and other images."""
    if trained.keys() != tested.keys():
        raise ValueError(
            f'--data {folder}: train and test have other classes: '
            f'{sorted(trained.keys() ^ tested.keys())[:4]}'
        )
    shared = copies_in([*chain(*trained.values()), *chain(*tested.values())])
    for copy, first in shared.items():
        raise ValueError(
            f'--data {folder}: train and test share {len(shared)} images, '
            f'such as {first} and {copy}; remove them from one of the two'
        )


def _parts_of(
    trained: Path, tested: Path | None, classes: Mapping[str, Sequence[Path]]
) -> dict[str, dict[str, Any]]:
    """Data sets of the folder: train, search and test, without pipelines."""
    least = 3 if tested is None else 2
    counts = {name: len(paths) for name, paths in classes.items()}
    few = [f'{name}: {n}' for name, n in counts.items() if n < least]
    if few:
        raise ValueError(
            f'--data {trained}: too few images in {len(few)} of {len(counts)} '
            f'classes ({", ".join(few[:4])}); must be at least {least} in '
            'each, one for every part that is cut from this folder'
        )
    number = sum(counts.values())
    test = max(round(_TEST_SHARE * number), len(counts))
    number -= 0 if tested else test
    searched = min(round(_SEARCH_SHARE * number), _MOST_SEARCHED)
    sizes = dict(search=max(searched, len(counts)), train=None)
    whole, held = (
        dict(type='eavit_mm.ImageFolder', data_prefix=str(place))
        for place in (trained, tested)
    )
    if tested is None:
        sizes = dict(test=test, **sizes)
    split = dict(type='eavit_mm.Split', parts=sizes, dataset=whole)
    return dict(test=held) | {part: dict(split, part=part) for part in sizes}


def _pipeline_of(cfg: Config, dataset: Mapping[str, Any]) -> list[Any]:
    """The data set's pipeline, beginning with a file."""
    while 'pipeline' not in dataset:
        dataset = dataset['dataset']
    pipeline = deepcopy(list(dataset['pipeline']))
    if pipeline and pipeline[0]['type'] == 'LoadImageFromFile':
        return pipeline
    channels = cfg.model.backbone.get('in_channels', 3)
    colour = 'grayscale' if channels == 1 else 'color'
    return [dict(type='LoadImageFromFile', color_type=colour), *pipeline]
