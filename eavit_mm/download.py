"""Downloads of published files; what was interrupted goes on."""

import os
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from rich.markup import escape
from rich.progress import wrap_file

_PATIENCE = 60  # seconds without a byte


def download(url: str, path: Path) -> None:
    """Downloads a file, or the rest of it, and shows how far it is.

    Raises:
        OSError: If nothing comes for a minute, or less than was promised; what
            came is kept, but for the last 64 kB before a silence.
        HTTPException: If the answer is none of HTTP's.
    """
    size = _size_after(url, path)
    if size is not None and (got := path.stat().st_size) < size:
        raise OSError(f'cut after {got:,} of {size:,} bytes')


def _size_after(url: str, path: Path) -> int | None:
    """Downloads until the server ends; how many bytes it should have been."""
    begin = path.stat().st_size if path.exists() else 0
    headers = {'User-Agent': 'eavit_mm'}
    if begin:
        headers['Range'] = f'bytes={begin}-'
    try:
        answer: Any = urlopen(Request(url, headers=headers), timeout=_PATIENCE)
    except HTTPError as error:
        if error.code != 416 or not begin:
            raise
        if error.headers.get('Content-Range') == f'bytes */{begin}':
            return begin  # stopped between download and use
        path.unlink()
        return _size_after(url, path)
    with answer:
        part = answer.headers.get('Content-Range', '')
        goes_on = part.startswith(f'bytes {begin}-')
        left: int | None = answer.length
        with path.open('ab' if goes_on else 'wb') as file:
            name = escape(PurePosixPath(urlparse(url).path).name)
            shown = wrap_file(answer, left or 0, description=name)
            with shown as reader:
                copyfileobj(reader, file)
            file.flush()
            os.fsync(file.fileno())
    return None if left is None else left + begin * goes_on
