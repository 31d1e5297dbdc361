"""What a mutation is: a command that works, and one file put wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Of every random place in a file. Another one must do as well.
SEED = 20240917

TRAIN = ('train.py', 'config.py', '--work-dir', 'work')
RESUME = (*TRAIN, '--resume', 'trained.pth')
TEST = ('test.py', 'config.py', 'trained.pth', '--work-dir', 'work')
REARRANGE = (
    *('rearrange.py', 'config.py', 'trained.pth', 'out.pth'),
    *('--num-batches', '1', '--work-dir', 'work'),
)

Spoil = Callable[[Path], object]


def nothing(folder: Path) -> None:
    """Leaves the folder as it is."""


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / 'inside.txt').write_text('a file in a folder')


@dataclass(frozen=True)
class Mutation:
    """One wrong input.

    Attributes:
        name: Unique.
        command: A tool and its arguments; works in a folder that is only
            prepared.
        file: The one that is put wrong.
        spoil: Puts one thing wrong in the file.
        words: What the error must say: where, what came, what is valid.
        prepare: What makes the folder suit the command.
    """

    name: str
    command: tuple[str, ...]
    file: str
    spoil: Spoil
    words: tuple[str, ...]
    prepare: Spoil = nothing
