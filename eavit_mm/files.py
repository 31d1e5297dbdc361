"""Files that are written whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any


def write_atomically(content: bytes, path: str | Path) -> None:
    """Writes under a temporary name, flushes to disk, then renames.

    Args:
        content: The whole file.
        path: Its folder is made if it is not there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.partial')
    try:
        with partial.open('wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(value: Any, path: str | Path) -> None:
    """Writes JSON, likewise."""
    write_atomically(f'{json.dumps(value, indent=1)}\n'.encode(), path)
