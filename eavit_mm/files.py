"""Files that are written whole or not at all."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from secrets import token_hex
from shutil import rmtree
from typing import Any, TypeVar


def write_atomically(content: bytes, path: str | Path) -> None:
    """Writes under a temporary name, flushes to disk, then renames.

    Args:
        content: The whole file.
        path: Its folder is made if it is not there.
    """
    with _partial(content, Path(path)) as partial:
        partial.replace(path)


def create_atomically(content: bytes, path: str | Path) -> None:
    """Writes a new file, likewise.

    Raises:
        FileExistsError: If there is one, even if made at this moment.
    """
    with _partial(content, Path(path)) as partial:
        Path(path).hardlink_to(partial)


@contextmanager
def _partial(content: bytes, path: Path) -> Iterator[Path]:
    """A flushed file of a name of its own beside the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{token_hex(4)}.partial')
    try:
        with partial.open('xb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)


Content = TypeVar('Content')


def read_json(path: str | Path, build: Callable[[Any], Content]) -> Content:
    """What a function builds of the value in a JSON file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no JSON, or the function says so; names the file.
    """
    try:
        value = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path}: no JSON: {error}') from error
    try:
        return build(value)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def write_json(value: Any, path: str | Path) -> None:
    """Writes JSON, likewise."""
    write_atomically(f'{json.dumps(value, indent=1)}\n'.encode(), path)


@contextmanager
def folder_atomically(path: str | Path) -> Iterator[Path]:
    """A folder to fill, which gets its name when it is full.

    An earlier folder of that name is replaced. If the block raises, or the
    process is killed, what was there stays; killed in between the two
    renames, it comes back with :func:`remove_leftovers`.

    Args:
        path: Its parent is made if it is not there.
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
    return list(path.parent.glob(f'.{escape(path.name)}.*.{ending}'))
