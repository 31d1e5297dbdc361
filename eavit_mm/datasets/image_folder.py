"""A folder of images for each class, whatever else lies between them."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
from mmcv.image import imread
from mmengine.logging import print_log
from mmpretrain.datasets import BaseDataset

from eavit_mm.datasets.split import partition
from eavit_mm.options import check_choice
from eavit_mm.registry import DATASETS

# The part of the training images that becomes the search split, and the most
# images that it may have.
_SEARCH_SHARE, _MOST_SEARCHED = 0.1, 2000
# The part that becomes the test split where a folder has none.
_TEST_SHARE = 0.2
_LAYOUTS = 'train/CLASS/* and test/CLASS/* (or val), or CLASS/*'
# What folders of parts are called, in any case.
ROLES = dict(train='train', training='train', test='test', testing='test')
ROLES |= dict(val='val', valid='val', validation='val')
# What systems leave in folders, beside names that begin with a dot.
_JUNK = {'__macosx', '__pycache__', '@eadir', '@recycle', '#recycle'}
_JUNK |= {'$recycle.bin', 'lost+found', 'system volume information'}
# A file that begins and ends so is whole; others are decoded to see it.
_WHOLE = (b'\xff\xd8', b'\xff\xd9'), (b'\x89PNG', b'IEND\xaeB`\x82')

Classes = dict[str, list[Path]]
Samples = list[dict[str, Any]]


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """``FOLDER/CLASS/**/image``, in any format that mmcv can read.

    Differs from mmpretrain's ``CustomDataset``: the content says what a file
    is, not its name; a folder without images, or hidden, is no class; of
    several files with one content the first is taken.

    Args:
        data_prefix: The folder.
        part: 'train', 'search' or 'test', which share no image, of a folder
            with ``train/CLASS`` and ``test/CLASS`` (or ``val``), or with
            ``CLASS`` alone, of which a seeded fifth becomes the test split;
            or of one that holds nothing but such a folder. A tenth of the
            training images, at most 2,000, is kept for the search. None for
            all images of a folder of classes.
        **kwargs: Those of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it is not clear which folders are classes, a class has
            too few images, or train and test do not go together.
    """

    def __init__(
        self, data_prefix: str, part: str | None = None, **kwargs: Any
    ) -> None:
        check_choice('part', part, (None, 'train', 'search', 'test'))
        self.part = part
        super().__init__(ann_file='', data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> Samples:
        """Paths and labels; ``metainfo`` gets the names of the classes."""
        folder = Path(self.img_prefix)
        if not folder.is_dir():
            raise FileNotFoundError(
                f'{folder}: no such folder; must hold {_LAYOUTS}'
            )
        paths = sorted(files_in(folder), key=str)
        stats = (path.lstat() for path in paths)
        times = tuple((stat.st_size, stat.st_mtime_ns) for stat in stats)
        is_cut = self.part is not None
        found, parts = _read(folder, tuple(paths), times, is_cut)
        names = self._metainfo.setdefault('classes', found)
        if not found or len(names) != len(found):
            raise ValueError(
                f'{folder}: images in the folders {list(found)}; must be one '
                f'for each of the classes {list(names)}'
            )
        return list(parts[self.part])  # mmengine empties it


def files_in(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """All files, behind links too, but those that are hidden."""
    real = folder.resolve()
    if real in above:
        return  # a link that leads back up
    for entry in folder.iterdir():
        if entry.name.startswith('.') or entry.name.lower() in _JUNK:
            continue
        if entry.is_dir():
            yield from files_in(entry, (*above, real))
        else:
            yield entry


@lru_cache(maxsize=4)  # every part of a folder is a data set of its own
def _read(
    folder: Path, paths: Sequence[Path], stamps: Any, is_cut: bool
) -> tuple[tuple[str, ...], dict[Any, Samples]]:
    """The classes of a folder, and the samples of its parts.

    Args:
        folder: The folder.
        paths: All files in it.
        stamps: Their sizes and times: other files are read anew.
        is_cut: Whether it has parts, or is cut into them.
    """
    images = [path for path in paths if is_image(path)]
    broken = sorted({*paths} - {*images})
    log_left_out(folder, broken, 'no image that can be read')
    places = _places_of(folder, images) if is_cut else {folder: images}
    pairs = [(root, path) for root in places for path in places[root]]
    # What lies in no folder of a class is left out itself.
    copies = copies_in([path for root, path in pairs if path.parent != root])
    trained, *held = (_classes_in(*p, copies) for p in places.items())
    names = tuple(trained)
    samples = _samples_of(trained, names)
    if not is_cut:
        return names, {None: samples}
    _check_train([*places][0], trained, has_test=bool(held))
    number, sizes = len(samples), dict[str, int | None]()
    if not held:
        size = sizes['test'] = max(round(_TEST_SHARE * number), len(names))
        number -= size
    searched = min(round(_SEARCH_SHARE * number), _MOST_SEARCHED)
    sizes.update(search=max(searched, len(names)), train=None)
    labels = [sample['gt_label'] for sample in samples]
    cut = partition(len(samples), sizes, 0, labels)
    parts = {part: [samples[i] for i in cut[part]] for part in cut}
    for tested in held:
        if unknown := sorted({*tested} - {*names}):
            raise ValueError(
                f'{folder}: the test has classes that train has not: '
                f'{unknown[:4]}'
            )
        parts['test'] = _samples_of(tested, names)
    return names, parts


def _samples_of(classes: Classes, names: Sequence[str]) -> Samples:
    return [
        dict(img_path=str(path), gt_label=label)
        for label, name in enumerate(names)
        for path in classes.get(name, ())
    ]


def is_image(path: Path) -> bool:
    """Whether mmcv reads it: by first and last bytes, where these do."""
    try:
        if not path.is_file():  # a pipe, a link to nothing
            return False
        with path.open('rb') as file:
            start = file.read(4)
            file.seek(-8, os.SEEK_END)
            end = file.read()
        if any(start.startswith(s) and end.endswith(e) for s, e in _WHOLE):
            return True
        str(path).encode()  # OpenCV ends the process over other names
        # The second reads the whole file, the first only its signature.
        return cv2.haveImageReader(str(path)) and imread(path) is not None
    except (OSError, UnicodeError, cv2.error):
        return False


def log_left_out(folder: Path, paths: Sequence[Path], why: str) -> None:
    """Warns of files in a folder that are not taken, if there are any."""
    # A name need not be text.
    names = [
        os.fsencode(path.relative_to(folder)).decode(errors='replace')
        for path in paths[:3]
    ]
    names += ['...'] * (len(paths) > 3)
    text = f'{folder}: files left out, {why}: {len(paths)}, {", ".join(names)}'
    if paths:
        print_log(text, logger='current', level=logging.WARNING)


def copies_in(paths: Sequence[Path]) -> dict[Path, Path]:
    """Files with the content of an earlier one, and that one."""
    sizes = Counter(path.stat().st_size for path in paths)
    known: dict[bytes, Path] = {}
    copies = {}
    for path in paths:
        if sizes[path.stat().st_size] > 1:  # else it tells enough
            content = sha256(path.read_bytes()).digest()
            if (first := known.setdefault(content, path)) != path:
                copies[path] = first
    return copies


def check_apart(root: Path, copies: Mapping[Path, Path]) -> None:
    """Raises if an image below a folder is the copy of one elsewhere."""
    shared = [
        path
        for path, first in copies.items()
        if root in path.parents and root not in first.parents
    ]
    for path in shared:
        raise ValueError(
            f'{root}: train and test share {len(shared)} images, such as '
            f'{copies[path]} and {path}; remove them from one of the two'
        )


def _by_folder(root: Path, paths: Sequence[Path]) -> Classes:
    """The paths in each folder of a root, at any depth, sorted by name."""
    groups: Classes = {}
    for path in paths:
        name, *deeper = path.relative_to(root).parts
        if deeper:
            groups.setdefault(name, []).append(path)
    return dict(sorted(groups.items()))


def _classes_in(
    root: Path, images: Sequence[Path], copies: dict[Path, Path]
) -> Classes:
    """The images of each class, every content once; the rest is logged."""
    check_apart(root, copies)
    strays = [path for path in images if path.parent == root]
    log_left_out(root, strays, 'in no folder of a class')
    again = [path for path in images if path in copies]
    log_left_out(root, again, 'copies of other images')
    return _by_folder(root, [path for path in images if path not in copies])


def _places_of(folder: Path, images: list[Path]) -> dict[Path, list[Path]]:
    """The folders of classes: to train on, and to test on if there is one."""
    if not images:
        raise ValueError(
            f'{folder}: no image that can be read; must hold {_LAYOUTS}'
        )
    root = _root_of(folder, images)
    groups = _by_folder(root, images)
    # A class may be called so too: its images lie in it.
    found = [
        name
        for name, paths in groups.items()
        if name.lower() in ROLES
        and all(path.parent != root / name for path in paths)
    ]
    # Alone in its folder, a part is the root or above it.
    inner = root.relative_to(folder).parts
    parts = found or [name for name in inner if name.lower() in ROLES]
    if not parts:
        return {root: images}
    roles = {ROLES[name.lower()]: name for name in found}
    if len(roles) < max(len(parts), 2) or 'train' not in roles:
        raise ValueError(
            f'{folder}: has folders of classes in {parts}; must be '
            f'{_LAYOUTS}. To keep a fifth of the images of one folder for the '
            'test, give that folder'
        )
    used = roles['train'], roles.get('test') or roles['val']
    others = [name for name in groups if name not in used]
    if others:
        text = f'{folder}: left out, neither train nor test: {others}'
        print_log(text, logger='current', level=logging.WARNING)
    train, test = (groups[name] for name in used)
    train_root = _root_of(root / used[0], train)
    # Images of one class alone lie in the first folder that is called so.
    known = {*_by_folder(train_root, train)}
    test_root = _root_of(root / used[1], test)
    for place in (test_root, *test_root.parents):
        is_inside = place.is_relative_to(root / used[1])
        if is_inside and known & {*_by_folder(place, test)}:
            test_root = place
    return {train_root: train, test_root: test}


def _root_of(top: Path, images: Sequence[Path]) -> Path:
    """The deepest folder, from a top one on, with all images in folders."""
    root = Path(os.path.commonpath([path.parent for path in images]))
    is_class = root != top and any(path.parent == root for path in images)
    return root.parent if is_class else root


def _check_train(root: Path, classes: Classes, has_test: bool) -> None:
    """Raises unless there are classes, and images of each for every part."""
    if len(classes) < 2:
        raise ValueError(
            f'{root}: images in the folders {list(classes)}; must be in one '
            'for each of at least two classes'
        )
    # Folders that hold the same ones may be parts, with classes in them.
    inner: Counter[str] = Counter()
    for name, paths in ({} if has_test else classes).items():
        below = _by_folder(_root_of(root / name, paths), paths)
        if sum(map(len, below.values())) == len(paths):
            inner.update(below.keys())
    shared = [name for name, number in inner.items() if number > 1]
    if len(shared) > 1:
        raise ValueError(
            f'{root}: the folders {list(classes)[:4]} hold the same folders, '
            f'{shared[:4]}: which are the classes? Give the folder of the '
            'classes, or name parts train and test'
        )
    least = 2 if has_test else 3
    few = [f'{k}: {len(v)}' for k, v in classes.items() if len(v) < least]
    if few:
        raise ValueError(
            f'{root}: too few images in {len(few)} of {len(classes)} classes '
            f'({", ".join(few[:4])}); must be at least {least} in each, one '
            'for every part that is cut from this folder'
        )
