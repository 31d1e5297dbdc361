"""A folder of images for each class, whatever else lies between them."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
from mmcv.image import imread
from mmengine.logging import print_log
from mmpretrain.datasets import BaseDataset

from eavit_mm.registry import DATASETS

# What systems leave in folders, beside names that begin with a dot.
_JUNK = {'__macosx', '__pycache__', '@eadir', '@recycle', '#recycle'}
_JUNK |= {'$recycle.bin', 'lost+found', 'system volume information'}
# A file that begins and ends so is whole; others are decoded to see it.
_WHOLE = (b'\xff\xd8', b'\xff\xd9'), (b'\x89PNG', b'IEND\xaeB`\x82')


def find_images(folder: Path) -> list[Path]:
    """All files below a folder that mmcv can read, whatever their names.

    Links are followed; what is hidden is no file of the folder; what cannot
    be read is logged.
    """
    files = sorted(_files_in(folder), key=str)
    images = [path for path in files if _is_image(path, *_stamp(path))]
    broken = tuple(sorted({*files} - {*images}))
    _log_left_out(folder, broken, 'no image that can be read')
    return images


def _files_in(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:
        return  # a link that leads back up
    for entry in folder.iterdir():
        if entry.name.startswith('.') or entry.name.lower() in _JUNK:
            continue
        if entry.is_dir():
            yield from _files_in(entry, (*above, real))
        else:
            yield entry


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time, which tell whether what was read of a file holds."""
    stat = path.lstat()
    return stat.st_size, stat.st_mtime_ns


@cache
def _is_image(path: Path, *stamp: int) -> bool:
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


@cache
def _content(path: Path, *stamp: int) -> bytes:
    return sha256(path.read_bytes()).digest()


def copies_in(paths: Sequence[Path]) -> dict[Path, Path]:
    """Files with the content of an earlier one, and that one."""
    sizes = Counter(path.stat().st_size for path in paths)
    known: dict[bytes, Path] = {}
    # A size that comes once tells enough.
    alike = [path for path in paths if sizes[path.stat().st_size] > 1]
    firsts = {
        path: known.setdefault(_content(path, *_stamp(path)), path)
        for path in alike
    }
    return {path: first for path, first in firsts.items() if path != first}


def by_folder(root: Path, paths: Sequence[Path]) -> dict[str, list[Path]]:
    """The paths in each folder of a root, at any depth, sorted by name."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        name, *deeper = path.relative_to(root).parts
        if deeper:
            groups.setdefault(name, []).append(path)
    return dict(sorted(groups.items()))


def classes_in(root: Path, images: Sequence[Path]) -> dict[str, list[Path]]:
    """The images of each class, every content once; the rest is logged."""
    strays = tuple(path for path in images if path.parent == root)
    _log_left_out(root, strays, 'in no folder of a class')
    copies = copies_in(images)
    _log_left_out(root, tuple(copies), 'copies of other images')
    return by_folder(root, [path for path in images if path not in copies])


@cache  # once in a process
def _log_left_out(folder: Path, paths: Sequence[Path], why: str) -> None:
    # A name need not be text.
    names = [
        os.fsencode(path.relative_to(folder)).decode(errors='replace')
        for path in paths[:3]
    ]
    names += ['...'] * (len(paths) > 3)
    text = f'{folder}: files left out, {why}: {len(paths)}, {", ".join(names)}'
    if paths:
        print_log(text, logger='current', level=logging.WARNING)


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """``FOLDER/CLASS/**/image``, in any format that mmcv can read.

    Differs from mmpretrain's ``CustomDataset``: the content says what a file
    is, not its name; a folder without images, or hidden, is no class; of
    several files with one content the first is taken.

    Args:
        data_prefix: The folder.
        **kwargs: Those of mmpretrain's ``BaseDataset``.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: Unless there is a folder of images for each class.
    """

    def __init__(self, data_prefix: str, **kwargs: Any) -> None:
        super().__init__(ann_file='', data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Paths and labels; ``metainfo`` gets the names of the classes."""
        root = Path(self.img_prefix)
        groups = classes_in(root, find_images(root))
        names = self._metainfo.setdefault('classes', tuple(groups))
        if not groups or len(names) != len(groups):
            raise ValueError(
                f'{root}: images in the folders {list(groups)}; must be one '
                f'for each of the classes {list(names)}'
            )
        return [
            dict(img_path=str(path), gt_label=label)
            for label, paths in enumerate(groups.values())
            for path in paths
        ]
