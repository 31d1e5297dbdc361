"""A check that names every missing file of a data set at once."""

from collections.abc import Iterable
from pathlib import Path


def require_files(
    name: str, root: str | Path, files: Iterable[str], source: str
) -> None:
    """Raises if a file or folder of a data set is not where it should be.

    Args:
        name: Data set, for the message.
        root: Its folder.
        files: Paths under ``root`` that must exist.
        source: Where a user gets the files, in one sentence.

    Raises:
        FileNotFoundError: Names all missing files and the source.
    """
    missing = [file for file in files if not Path(root, file).exists()]
    if missing:
        raise FileNotFoundError(
            f'{name}: missing in {Path(root).absolute()}: '
            f'{", ".join(missing)}. {source}'
        )
