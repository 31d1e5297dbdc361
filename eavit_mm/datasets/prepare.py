"""Fetches published data sets, and looks whether what is there is whole.

Nothing has its name before it is whole. A file is fetched under a hidden
name, where an interrupted download goes on, and renamed when its sum is
right; an archive is unpacked in a hidden folder.
"""

import errno
import hashlib
import tarfile
import zipfile
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from shutil import rmtree

from eavit_mm.datasets.published import Part
from eavit_mm.download import download
from eavit_mm.files import lock

# Of names in an archive that no folder can have; bz2 and gzip give no number.
_NAMES = {None, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG}

# How JPEG, PNG, GIF and BMP begin: published sets call all of them .jpg.
_IMAGES = {b'\xff\xd8', b'\x89P', b'GI', b'BM'}
_SHORTEST = 100  # bytes; a JPEG of one pixel, without its tables, has more


def fault_of(part: Part, root: Path) -> str:
    """What is wrong with a part below the folder of all data; '': nothing."""
    place = root / part.place
    if not place.exists():
        return 'missing'
    if part.least:
        return _fault_of_folder(place, part)
    return _fault_of_file(place, part.digest)


def _fault_of_folder(place: Path, part: Part) -> str:
    patterns = [one.partition(':') for one in part.pattern.split()]
    found: list[Path] = []
    for pattern, _, digest in patterns:
        paths = [path for path in place.glob(pattern) if path.is_file()]
        if not paths:
            return f'no file {pattern} in it'
        if digest and (fault := _fault_of_file(paths[0], digest)):
            return f'{pattern}: {fault}'
        found += paths
    broken = [path for path in found if _is_broken(path)]
    if broken:
        text = f'{len(broken)} files are empty or no images'
        return f'{text}, such as {broken[0]}'
    if len(found) < part.least:
        names = ' '.join(pattern for pattern, *_ in patterns)
        text = f'{len(found)} files {names}'
        return f'{text}; must be at least {part.least}'
    return ''


def _is_broken(path: Path) -> bool:
    """Whether a file is empty, or is called an image and cannot be one."""
    with path.open('rb') as file:
        begin = file.read(_SHORTEST)
    if path.suffix != '.jpg':
        return not begin
    return len(begin) < _SHORTEST or begin[:2] not in _IMAGES


def _fault_of_file(path: Path, digest: str) -> str:
    if not path.is_file() or not path.stat().st_size:
        return 'no file, or an empty one'
    kind = 'sha256' if len(digest) == 64 else 'md5'
    with path.open('rb') as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if digest in ('', found):
        return ''
    return f'cut or another file: its {kind} is {found}; must be {digest}'


def _hidden(place: Path) -> tuple[Path, Path]:
    """Where a part is fetched and unpacked, before it has its name."""
    fetched, unpacked = (f'.{place.name}.{k}' for k in ('partial', 'unpacked'))
    return place.with_name(fetched), place.with_name(unpacked)


def tidy(part: Part, root: Path) -> None:
    """Removes what a killed call left of a part that has its name by now."""
    fetched, unpacked = _hidden(root / part.place)
    fetched.unlink(missing_ok=True)
    rmtree(unpacked, ignore_errors=True)


def prepare(part: Part, root: Path) -> None:
    """Fetches a part that is missing.

    An archive that lies in ``root``, fetched by hand, is taken and left.

    Raises:
        ValueError: If it cannot be fetched, or what came is not what was
            published; says what to do.
    """
    place = root / part.place
    place.parent.mkdir(parents=True, exist_ok=True)
    name = part.url.rpartition('/')[2]
    fetched, _ = _hidden(place)
    given = root / name
    is_given = bool(part.top) and given.is_file()
    source = given if is_given else fetched
    with lock(place):
        if place.exists():  # by another process, just before
            return
        if not is_given:
            try:
                download(part.url, fetched)
            except (OSError, HTTPException) as error:
                raise ValueError(
                    f'{part.url}: {error}; call again, or put it at '
                    f'{given if part.top else place} by hand'
                ) from error
        fault = _fault_of_file(source, part.digest)
        if not fault and part.top:
            fault = _unpack(source, place, part)
        if fault:
            fetched.unlink(missing_ok=True)  # no byte of it can be trusted
            text = f'{part.url}: {fault}; call again to fetch it anew'
            if is_given:
                text = f'{given}: {fault}; delete it, and call again'
            raise ValueError(text)
        if not part.top:
            fetched.replace(place)
        fetched.unlink(missing_ok=True)


def _unpack(source: Path, place: Path, part: Part) -> str:
    """Makes a folder of an archive's; what is wrong with it, if so."""
    _, hidden = _hidden(place)
    rmtree(hidden, ignore_errors=True)
    try:
        try:
            _extract(source, hidden)
        except Exception as error:  # a flipped bit may raise whatever
            if isinstance(error, OSError) and error.errno not in _NAMES:
                raise  # of the disk: the archive may be whole
            return f'the archive is cut, broken or unsafe ({error})'
        top = hidden / part.top
        fault = _fault_of_folder(top, part)
        if not fault:
            top.rename(place)
        return fault
    finally:
        rmtree(hidden, ignore_errors=True)


def _extract(source: Path, folder: Path) -> None:
    """Unpacks an archive; nothing of it may lie or point outside."""
    if not zipfile.is_zipfile(source):
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter='data')
        return
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            path = PurePosixPath(name)
            if path.is_absolute() or '..' in path.parts:
                raise zipfile.BadZipFile(f'{name!r} is outside of it')
        archive.extractall(folder)
