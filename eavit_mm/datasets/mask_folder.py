"""A folder of images and a folder of their masks."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from PIL import Image

from eavit_mm.datasets.image_folder import (
    ROLES,
    check_apart,
    copies_in,
    files_in,
    is_image,
    log_left_out,
)
from eavit_mm.datasets.split import partition
from eavit_mm.options import check_choice
from eavit_mm.registry import DATASETS

# The part of the training images that becomes the search split, and the most
# images that it may have.
_SEARCH_SHARE, _MOST_SEARCHED = 0.1, 500
_TOPS = ('images', 'annotations')
_LAYOUT = (
    'images/train and images/val (or test), and the same folders in '
    'annotations, with a mask for every image'
)
# Pixels that neither losses nor metrics of mmseg count.
_IGNORED = 255
# EXIF's orientations: from 2 on flipped or turned, from 5 on on its side.
_ORIENTATION, _FLIPPED, _ON_ITS_SIDE = 0x0112, range(2, 9), range(5, 9)
_SIZE = 0x0101, 0x0100  # height and width

Pair = tuple[Path, Path]


@DATASETS.register_module()
class MaskFolder(BaseDataset):
    """``images/{train,val}/**/X.*`` and ``annotations/{train,val}/**/X.png``.

    A mask holds the class of each pixel, or 255, which is ignored. Differs
    from mmseg's ``BaseSegDataset``: images may end in anything, names of
    masks in what all of them have (``X_mask.png``), classes are named by
    ``classes.txt``, one a line, else numbered, and what is unclear is refused.

    Args:
        data_prefix: The folder.
        part: 'train', 'search' or 'test', which share no image: a tenth of
            the training images, at most 500, is kept for the search, and the
            test is the folder's own, else its ``val``.
        **kwargs: Those of mmengine's ``BaseDataset``. Where ``metainfo`` has
            the classes, masks are first read when they are used.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If images and masks do not go together, or it is not
            clear what the masks say.
    """

    def __init__(
        self, data_prefix: str, part: str = 'train', **kwargs: Any
    ) -> None:
        check_choice('part', part, ('train', 'search', 'test'))
        self.part = part
        super().__init__(ann_file='', data_root=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Paths of images and masks; ``metainfo`` gets the classes."""
        folder = Path(self.data_root)
        if not folder.is_dir():
            raise FileNotFoundError(
                f'{folder}: no such folder; must hold {_LAYOUT}'
            )
        places, unused = _places_in(folder)
        files = tuple(tuple(files_in(place)) for place in places)
        stats = (path.lstat() for paths in files for path in paths)
        times = tuple((stat.st_size, stat.st_mtime_ns) for stat in stats)
        train, test = _read(places, unused, files, times)
        if 'classes' not in self._metainfo:
            self._metainfo['classes'] = _classes_in(folder, train, test)
        number = len(self._metainfo['classes'])
        colours = np.random.default_rng(0).integers(256, size=(number, 3))
        self._metainfo.setdefault('palette', colours.tolist())
        searched = min(round(_SEARCH_SHARE * len(train)), _MOST_SEARCHED)
        sizes = dict(search=max(searched, 1), train=None)
        cut = partition(len(train), sizes, 0)
        parts = {part: [train[i] for i in cut[part]] for part in cut}
        fields = dict(label_map=None, reduce_zero_label=False)
        return [
            dict(img_path=str(i), seg_map_path=str(m), seg_fields=[], **fields)
            for i, m in {**parts, 'test': test}[self.part]
        ]


def _places_in(folder: Path) -> tuple[tuple[Path, ...], ...]:
    """Folders of images and masks, to train on, to test on; other parts."""
    held = sorted(path for path in folder.glob('*/*') if path.is_dir())
    parts = {}
    for role in ('train', 'test', 'val'):
        named = [p for p in held if ROLES.get(p.name.lower()) == role]
        found = [p for top in _TOPS for p in named if p.parent.name == top]
        if [p.parent.name for p in found] == [*_TOPS]:
            parts[role] = found
    tested = parts.get('test') or parts.get('val')
    if 'train' not in parts or not tested:
        held += [path for path in folder.iterdir() if path.is_dir()]
        names = sorted(p.relative_to(folder).as_posix() for p in held)
        raise ValueError(
            f'{folder}: holds the folders {names[:9]}; must hold {_LAYOUT}'
        )
    places = (*parts['train'], *tested)
    unused = [p for p in held if p.parent.name in _TOPS and p not in places]
    return places, tuple(unused)


@lru_cache(maxsize=4)  # every part of a folder is a data set of its own
def _read(
    places: Sequence[Path],
    unused: Sequence[Path],
    files: Sequence[Sequence[Path]],
    stamps: Any,
) -> list[list[Pair]]:
    """Images with their masks, to train on and to test on; copies are out.

    Of the files in each place; with other stamps they are read anew.
    """
    log_left_out(places[0].parents[1], unused, 'in neither train nor test')
    parts = [_pairs_in(places[i : i + 2], *files[i : i + 2]) for i in (0, 2)]
    copies = copies_in([image for part in parts for image, _ in part])
    for root, part, least in zip(places[::2], parts, (2, 1), strict=True):
        check_apart(root, copies)
        again = [image for image, _ in part if image in copies]
        log_left_out(root, again, 'copies of other images')
        part[:] = [pair for pair in part if pair[0] not in copies]
        if len(part) < least:
            raise ValueError(
                f'{root}: {len(part)} images; must be at least 2 to train on, '
                'of which one is kept for the search, and one to test on'
            )
    return parts


def _pairs_in(roots: Sequence[Path], *files: Sequence[Path]) -> list[Pair]:
    """Images and masks that have one name, but for the end of all masks'.

    Raises:
        ValueError: Unless there is one for each that can be read.
    """
    read = []
    for root, paths in zip(roots, files, strict=True):
        images = [path for path in paths if is_image(path)]
        broken = sorted({*paths} - {*images})
        log_left_out(root, broken, 'no image that can be read')
        read.append(images)
    named, of = map(_by_name, roots, read)
    pairs = ((name, mask) for name in [*named][:20] for mask in of)
    ends = Counter(m.removeprefix(n) for n, m in pairs if m.startswith(n))
    end = max(ends, key=lambda end: (ends[end], -len(end)), default='')
    of = _by_name(roots[1], read[1], end)
    for root, here, there in zip(roots, (named, of), (of, named), strict=True):
        alone = [path for name, path in here.items() if name not in there]
        if alone:
            kind = 'masks' if here is named else 'images'
            raise ValueError(
                f'{root}: {len(alone)} of {len(here)} files have no readable '
                f'file of the same name among the {kind}, such as {alone[0]}'
            )
    return [(path, of[name]) for name, path in named.items()]


def _by_name(
    root: Path, paths: Sequence[Path], end: str = ''
) -> dict[str, Path]:
    """Files below a folder by their names, without ending and end."""
    found: dict[str, Path] = {}
    for path in sorted(paths):
        name = path.relative_to(root).with_suffix('').as_posix()
        other = found.setdefault(name.removesuffix(end), path)
        if other != path:
            raise ValueError(
                f'{other} and {path} have the same name; must be one'
            )
    return found


def _classes_in(folder: Path, *parts: Sequence[Pair]) -> list[str]:
    """Names of the classes in the masks to train on.

    Raises:
        ValueError: If it is not clear which these are, or a mask has others.
    """
    pairs = [pair for part in parts for pair in part]
    with ThreadPoolExecutor() as pool:
        seen = [*pool.map(_labels_of, pairs)]
    trained = set().union(*seen[: len(parts[0])]) - {_IGNORED}
    found = f'{folder}: the masks to train on have the labels'
    found += f' {sorted(trained)[:9]}, beside {_IGNORED}, which is ignored'
    if len(trained) < 2:
        raise ValueError(f'{found}; must be at least two, such as 0 and 1')
    file, numbers = folder / 'classes.txt', range(max(trained) + 1)
    text = file.read_text('utf-8-sig', 'replace') if file.is_file() else ''
    names = [line.strip() for line in text.strip().splitlines()]
    if len({*names} - {''}) < len(names) or '\ufffd' in text:
        raise ValueError(
            f'{file}: must be UTF-8 and name each class once, one a line'
        )
    if not names and trained != {*numbers}:
        raise ValueError(
            f'{found}; must be 0, 1, 2 and so on without a gap, or else '
            'classes.txt must name the class of each label, one a line, from '
            'label 0 on'
        )
    names = names or list(map(str, numbers))
    known: dict[int, tuple[Any, Path]] = {}
    for (_, mask), labels in zip(pairs, seen, strict=True):
        for label, colour in labels.items():
            if len(names) <= label != _IGNORED:
                raise ValueError(
                    f'{mask}: label {label}; must be below {len(names)}, the '
                    f'number of classes, or {_IGNORED}: ignored'
                )
            first, other = known.setdefault(label, (colour, mask))
            if colour != first:
                raise ValueError(
                    f'{mask}: its palette has {colour} for label {label}, '
                    f'that of {other} {first}; must be one palette or none'
                )
    return names


def _labels_of(pair: Pair) -> dict[int, Any]:
    """The labels in a mask, each with its colour if there is a palette.

    Raises:
        ValueError: If it is no mask, or not one of its image.
    """
    image, mask = pair
    try:
        with Image.open(mask) as file:
            kind, pixels = f'{file.format}, {file.mode}', np.array(file)
            palette = file.getpalette() if file.mode == 'P' else None
        with Image.open(image) as file:
            turn, size = file.getexif().get(_ORIENTATION, 1), file.size[::-1]
            if tags := getattr(file, 'tag_v2', None):  # of a TIFF
                size = tags[_SIZE[0]], tags[_SIZE[1]]  # Pillow turns the other
    except Exception as error:  # of many kinds
        raise ValueError(f'{mask}: cannot be read: {error}') from error
    if pixels.ndim != 2 or pixels.dtype.kind == 'f' or 'JPEG' in kind:
        raise ValueError(
            f'{mask}: is {kind}; must be PNG with one channel of 8 or 16 bits '
            'that holds the class of each pixel'
        )
    if turn in _FLIPPED and pixels.shape == size:
        raise ValueError(
            f'{image}: EXIF turns it (orientation {turn}), and its mask may '
            'be of the image before; must be saved as it is seen'
        )
    size = size[::-1] if turn in _ON_ITS_SIDE else size
    if pixels.shape != size:
        raise ValueError(
            f'{mask}: has (height, width) = {pixels.shape}, its image {size}'
        )
    for label in (pixels.min(), pixels.max()):
        if not 0 <= label <= _IGNORED:
            raise ValueError(f'{mask}: label {label}; must be at most 255')
    labels = np.flatnonzero(np.bincount(pixels.astype(np.uint8).ravel()))
    return {
        label: palette and palette[3 * label : 3 * label + 3]
        for label in labels.tolist()
    }
