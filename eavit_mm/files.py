"""Files that are written whole or not at all, and where ours lie."""

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from math import isfinite
from pathlib import Path
from secrets import token_hex
from shutil import rmtree
from socket import gethostname
from time import sleep
from typing import Any, TypeVar

# Open files of the locks that this process holds.
_LOCKED: set[Any] = set()
# A forked worker that outlives the process would hold its locks as well.
os.register_at_fork(after_in_child=lambda: [file.close() for file in _LOCKED])
_HOLDER = re.compile(r'process (\d+) of (\S+), begun at \d+')
# Seconds in which two processes that begin at once see each other's name.
_MOMENT = 0.2


def project_folder() -> Path | None:
    """Where our tools, configs and index lie: a checkout, or `.mim`."""
    package = Path(__file__).parent
    folders = (package.parent, package / '.mim')
    return next((f for f in folders if (f / 'model-index.yml').exists()), None)


def write_atomically(content: bytes, path: str | Path) -> None:
    """Writes under a temporary name, flushes to disk, then renames."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{token_hex(4)}.partial')
    try:
        with naming_file(path), partial.open('xb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Puts the file into an error of writing, such as of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def lock(path: str | Path) -> Iterator[None]:
    """Keeps others from writing a result until the block ends.

    By ``flock`` on a hidden file beside it, which falls with the process;
    where the file system has none, by the name of the process in that file.

    Raises:
        ValueError: If the lock is held; names the process.
    """
    place = _lock_of(Path(path))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    with place.open('r+') as file:
        if holder := _take(file, place):
            holder = re.sub(', begun at [0-9]+', '', holder)
            raise ValueError(
                f'{path}: {holder} is writing there; wait for its end, or '
                'write to another folder'
            )
        _LOCKED.add(file)
        try:
            place.write_text(process_name(os.getpid()))
            yield
        finally:
            _LOCKED.discard(file)
            if not file.closed:  # as it is in a forked worker
                with suppress(OSError):
                    place.write_text('')


def check_unlocked(path: str | Path) -> None:
    """Raises ``ValueError`` as :func:`lock` if another process holds it."""
    place = _lock_of(Path(path))
    if place.exists() and place.read_text() != process_name(os.getpid()):
        with lock(path):
            pass


def _lock_of(path: Path) -> Path:
    return path.with_name(f'.{path.name}.lock')


def _take(file: Any, place: Path) -> str:
    """Takes a lock; who holds it, if somebody does."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return place.read_text() or 'another process'
    except OSError:  # network and cloud mounts can have no locks
        there = place.read_text()
        found = _HOLDER.fullmatch(there)
        if found and found[2] != gethostname():
            return f'{there} (if it has ended, delete {place})'
        if found and there == process_name(int(found[1])):
            return there
        me = process_name(os.getpid())
        place.write_text(me)
        sleep(_MOMENT)
        there = place.read_text()
        return '' if there == me else there
    return ''


def process_name(pid: int) -> str:
    """A process as no other is called; empty if it has ended."""
    try:
        stat = Path(f'/proc/{pid}/stat').read_text().rpartition(') ')[2]
    except OSError:
        return ''
    state, *_ = values = stat.split()
    host = gethostname()
    is_over = state in 'ZX'  # killed, but its parent has not asked yet
    return '' if is_over else f'process {pid} of {host}, begun at {values[19]}'


Content = TypeVar('Content')


def read_json(path: str | Path, build: Callable[[Any], Content]) -> Content:
    """What a function builds of the value in a JSON file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no JSON, or the function says so; names the file.
    """
    path = Path(path)
    if path.is_dir():
        raise FileNotFoundError(f'{path} is a folder; name the file in it')
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path}: no JSON: {error}') from error
    try:
        return build(value)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def plain(value: Any) -> Any:
    """A value as JSON holds it.

    Tensors and arrays become lists, what is not finite None, and what JSON
    does not know its text.
    """
    value = value.tolist() if hasattr(value, 'tolist') else value
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)


def write_json(value: Any, path: str | Path) -> None:
    """Writes JSON, likewise."""
    write_atomically(f'{json.dumps(value, indent=1)}\n'.encode(), path)


@contextmanager
def folder_atomically(path: str | Path) -> Iterator[Path]:
    """A folder to fill, which gets its name when it is full.

    An earlier folder of that name is replaced. If the block raises, or the
    process is killed, what was there stays; killed in between the two
    renames, it comes back with :func:`remove_leftovers`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = f'.{path.name}.{token_hex(4)}'
    partial = path.with_name(f'{hidden}.partial')
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            # Two renames: no system call swaps folders everywhere.
            path.rename(path.with_name(f'{hidden}.old'))
        partial.rename(path)
        _remove(path, 'old')
    finally:
        rmtree(partial, ignore_errors=True)


def remove_leftovers(path: str | Path) -> None:
    """Mends what killed calls of :func:`folder_atomically` left behind."""
    path = Path(path)
    for old in _hidden(path, 'old'):
        if not path.exists():
            old.rename(path)
    _remove(path, 'partial')


def _remove(path: Path, ending: str) -> None:
    """Deletes the hidden folders of an ending beside a path."""
    for left in _hidden(path, ending):
        rmtree(left, ignore_errors=True)


def _hidden(path: Path, ending: str) -> list[Path]:
    token = '[0-9a-f]' * 8  # NAME.b has leftovers of its own
    return list(path.parent.glob(f'.{escape(path.name)}.{token}.{ending}'))
