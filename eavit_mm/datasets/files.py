"""A message that names every missing file of a data set at once."""

from collections.abc import Iterable
from pathlib import Path


def missing_files(
    name: str, root: str | Path, files: Iterable[str], source: str
) -> FileNotFoundError:
    """The error to raise.

    Args:
        name: Data set.
        root: Its folder.
        files: What is missing there.
        source: Where a user gets the files, in one sentence.
    """
    return FileNotFoundError(
        f'{name}: missing in {Path(root).absolute()}: {", ".join(files)}. '
        f'{source}'
    )
