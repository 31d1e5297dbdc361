"""Files that are written whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any


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


def write_json(value: Any, path: str | Path) -> None:
    """Writes JSON, likewise."""
    write_atomically(f'{json.dumps(value, indent=1)}\n'.encode(), path)
