"""Keeps every Python process of the tests off data installed by hand.

Python imports a module of this name at its start where PYTHONPATH leads to
it; tests/conftest.py imports it in the process of the tests and sets
PYTHONPATH for those that it starts. So a test that passes only because
somebody once installed a data set fails everywhere, as on a fresh machine.
"""

import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Debian's packages of data sets, what a user puts into a checkout, and what
# other libraries keep of what they downloaded.
CACHES = ('.cache/torch', '.cache/huggingface', 'scikit_learn_data')
FOLDERS = (
    Path('/usr/share/datasets'),
    *(ROOT / name for name in ('data', 'checkpoints')),
    *(Path.home() / name for name in CACHES),
)
HIDDEN = tuple(f'{folder.resolve()}/' for folder in FOLDERS)
READS = ('open', 'os.listdir', 'os.scandir')


def refuse_hidden(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook, see `sys.addaudithook`.

    Raises:
        RuntimeError: Not OSError, which code that looks for data may catch.
    """
    if event not in READS or not isinstance(args[0], str | bytes | Path):
        return
    name = os.fsdecode(args[0])
    is_low_level = event == 'open' and args[1] is None  # os.open
    if is_low_level and not name.startswith('/'):
        return  # may count from a folder other than the current one
    path = os.path.realpath(name)  # a link may lead there
    if f'{path}/'.startswith(HIDDEN):
        raise RuntimeError(
            f'a test reads {path}, which a fresh machine does not have: '
            'let it write what it needs into tmp_path'
        )


sys.addaudithook(refuse_hidden)
