"""What a part of the bench is given: where it runs, and where results go."""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Rows = list[dict[str, Any]]
NO_COMPILER = 'torch.compile needs a C compiler: $CC, gcc or clang'


def has_c_compiler() -> bool:
    """Whether there is one where Triton looks for it."""
    names = (os.environ.get('CC', 'gcc'), 'clang')
    return any(map(shutil.which, names))


def counts(rows: Rows) -> str:
    """How many tests ended in which way."""
    ends = Counter(row['outcome'] for row in rows)
    return ', '.join(f'{number} {end}' for end, number in ends.items())


@dataclass
class Run:
    """A part's view of the run.

    Attributes:
        device: 'cuda' or 'cpu'.
        quick: Whether to do all in a small form.
        rows: What was measured.
        save: Called with the rows whenever they change.
    """

    device: str
    quick: bool
    rows: Rows = field(default_factory=list)
    save: Callable[[Rows], Any] = lambda rows: None

    def show(self, rows: Rows) -> None:
        """Puts rows in place of those there are."""
        self.rows = rows
        self.save(rows)

    def add(self, **row: Any) -> None:
        """Adds a row."""
        self.show([*self.rows, row])
