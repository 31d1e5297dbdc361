"""What a run of the bench has measured, in one file."""

import json
from pathlib import Path
from typing import Any

from eavit_mm.files import plain, write_json

NAME = 'gpu.json'
# How a part can stand.
RUNNING, DONE, FAILED, LATE = 'running', 'done', 'failed', 'out of time'


class Record:
    """A JSON file that is whole after each change.

    One process writes at a time: a part while it runs, else the bench.

    Args:
        folder: Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def read(self) -> dict[str, Any]:
        """All of it; without any part at first."""
        if not self.path.exists():
            return dict(parts={})
        return json.loads(self.path.read_text())

    def part(self, name: str) -> dict[str, Any]:
        """What is known of a part; nothing at first."""
        return self.read()['parts'].get(name, {})

    def note(self, **fields: Any) -> None:
        """Sets fields of the whole run."""
        write_json(plain({**self.read(), **fields}), self.path)

    def update(self, name: str, **fields: Any) -> None:
        """Sets fields of a part."""
        parts = self.read()['parts']
        parts[name] = {**parts.get(name, {}), **fields}
        self.note(parts=parts)
