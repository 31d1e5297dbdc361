"""Stages in one folder; what each was made from is noted beside them."""

import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mmengine.config import Config
from rich.console import Console
from rich.text import Text

from eavit_mm.datasets.samples import samples_of
from eavit_mm.engine.data_overlap import disjoint_data
from eavit_mm.engine.search_header import digest, plain
from eavit_mm.files import read_json, write_json
from eavit_mm.options import check_mapping

# Beginnings of parts of a config, and settings of a loader, on which nothing
# depends that a stage makes.
_NO_PARTS = (
    *('work_dir', 'launcher', 'log_', 'vis', 'env_cfg', 'stage1'),
    *('resume', 'default_hooks'),
)
_NO_SETTINGS = ('num_workers', 'persistent_workers', 'pin_memory')
# Bytes at the end of an image, which tell it from others. A mask, which may
# be changed by hand, is read whole.
_TAIL = 1024
# Seconds that a stopped stage has to end in order; torchrun needs up to 30.
_PATIENCE = 40
_PR_SET_PDEATHSIG = 1
# Stages read the same data and would warn of it again.
_WARNINGS: set[str] = set()
# Linux alone has it.
_prctl = getattr(ctypes.CDLL(None), 'prctl', lambda *args: None)


class Stages:
    """Stages, each made once; made again where it was killed.

    Args:
        folder: Holds a folder of each, ``stages.json`` and the log.

    Raises:
        ValueError: If the file is broken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / 'stages.json'
        self.notes: dict[str, Any] = {}
        if self.file.exists():
            self.notes = read_json(self.file, _check_notes)

    def check(self, name: str, source: Mapping[str, Any]) -> None:
        """Raises ``ValueError`` if a stage was begun from another source.

        What is not known yet may lack.
        """
        place = self.folder / name
        if not place.is_dir() or not any(place.iterdir()):
            return
        note = self.notes.get(name, {}).get('source', {})
        found = differences({key: note.get(key) for key in source}, source)
        if found:
            more = f' and {len(found) - 1} more' if found[1:] else ''
            raise ValueError(
                f'{place} was made from something else: {found[0]}{more}; '
                'give another --work-dir'
            )

    def make(
        self,
        name: str,
        source: Mapping[str, Any],
        is_there: Callable[[], bool],
        command: Sequence[str],
    ) -> str:
        """Makes a stage by a command, or goes on with it; says how it went.

        What was made from the same source is left, if its results are there.
        """
        note = self.notes.get(name, {})
        if note == dict(source=source, done=True) and is_there():
            return 'done before'
        begin = time.monotonic()
        for done in (False, True):
            self.notes[name] = dict(source=source, done=done)
            write_json(self.notes, self.file)
            if not done:
                run_logged(command, self.folder / 'adapt.log', name)
        return f'{time.monotonic() - begin:.0f} s'


def _check_notes(notes: Any) -> dict[str, Any]:
    check_mapping('stages', notes, 'stages')
    for name, note in notes.items():
        check_mapping(name, note, 'what it was made from')
        check_mapping(f'{name}.source', note.get('source'), 'what it reads')
    return dict(notes)


def differences(there: Any, here: Any, place: str = '') -> list[str]:
    """Where two plain values differ, as 'place=... there, ... here'."""
    if isinstance(there, list) and isinstance(here, list):
        there, here = dict(enumerate(there)), dict(enumerate(here))
    if isinstance(there, dict) and isinstance(here, dict):
        return [
            text
            for key in dict.fromkeys([*there, *here])
            for text in differences(
                there.get(key), here.get(key), f'{place}.{key}'
            )
        ]
    text = f'{place[1:]}={there!r:.80} there, {here!r:.80} here'
    return [] if there == here else [text]


def source_of(
    cfg: Config, data: Mapping[str, Any], *unread: str, **files: str
) -> dict[str, Any]:
    """What a stage is made from, as plain values.

    Files count by their content, wherever they lie.

    Args:
        cfg: The config.
        data: From :func:`data_of`.
        *unread: Beginnings of the parts that the stage does not read.
        **files: What it begins with.
    """
    parts = dict(data={k: v for k, v in data.items() if k not in unread})
    parts['config'] = {
        name: part
        for name, part in cfg.to_dict().items()
        if not name.startswith((*_NO_PARTS, *unread))
    }
    return dict(_by_content(plain(dict(**parts, **files))))


def _by_content(value: Any, most: int = sys.maxsize) -> Any:
    """A value with name, size and last bytes of a file for its path."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in _NO_SETTINGS}
        whole = dict(seg_map_path=sys.maxsize)
        return {k: _by_content(v, whole.get(k, most)) for k, v in kept.items()}
    if isinstance(value, list):
        return [_by_content(part, most) for part in value]
    if isinstance(value, str) and os.sep in value:
        path = Path(value)
        if path.is_dir():
            return 'a folder'  # of data, whose samples count
        if path.is_file():
            size = path.stat().st_size
            with path.open('rb') as file:
                file.seek(max(0, size - most))
                code = hashlib.file_digest(file, 'sha256').hexdigest()
            return f'{path.name} ({size} bytes, {code[:16]})'
    return value


def data_of(cfg: Config) -> dict[str, Any]:
    """Number, classes and digest of the samples of each data set.

    Raises:
        ValueError: If two share a sample.
    """
    return {
        name: dict(
            samples=len(dataset),
            classes=getattr(dataset, 'metainfo', {}).get('classes'),
            digest=digest(
                *(_by_content(info, _TAIL) for info in samples_of(dataset))
            ),
        )
        for name, dataset in disjoint_data(cfg).items()
    }


def run_logged(command: Sequence[str], log: Path, label: str) -> None:
    """Runs a command in a group of processes, which ends with this one.

    Args:
        command: What to run.
        log: Gets all that it writes; a terminal shows the last line.
        label: Stands before that line, and before warnings that are new.

    Raises:
        ValueError: If it fails; its own last words.
    """
    with log.open('a+', errors='replace') as file:
        file.write(f'\n### {" ".join(command)}\n')
        file.flush()
        begin = file.tell()
        with _group(command, file) as process, Console().status('') as status:
            while process.poll() is None:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(begin, size - 4096))
                last = file.read().rstrip().rpartition('\n')[2]
                line = Text(f'{label}: {last.rpartition(" - ")[2]}')
                line.truncate(Console().width - 4)
                status.update(line)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
        file.seek(begin)
        lines = file.read().splitlines()
    warned = (line.partition(' - WARNING - ')[2] for line in lines)
    for text in filter(None, warned):
        if is_new(text):
            sys.stdout.write(f'{label}: {text}\n')
    if process.returncode:
        said = [line for line in lines if line.startswith('error: ')]
        reason = said[-1][7:] if said else f'status {process.returncode}'
        raise ValueError(f'{label}: {reason}; its log is {log}')


def is_new(text: str) -> bool:
    """Whether a warning is the first of its words in this process."""
    known = len(_WARNINGS)
    _WARNINGS.add(text)
    return len(_WARNINGS) > known


@contextmanager
def _group(command: Sequence[str], log: Any) -> Iterator[Any]:
    """A command in a group of its own, of which nothing is left over."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )
    try:
        yield process
    finally:
        with suppress(subprocess.TimeoutExpired):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(_PATIENCE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end_with_parent() -> None:
    """Asks this process to end in order as soon as its parent is killed."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
