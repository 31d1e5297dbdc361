"""Every subnet is evaluated once; what is known outlives the process."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

from eavit_mm.files import lock, naming_file, write_atomically
from eavit_mm.options import difference_of
from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.pareto import Member

Measure = Callable[[Sequence[Subnet]], Sequence[Member]]
_CHECK = 'crc32'


class Evaluations:
    """Evaluated subnets in order; each is measured once.

    A search is a function of its settings and of these results, so it goes
    on by asking for them again.

    Args:
        measure: Evaluates subnets that are not known.
        known: What was evaluated earlier.
        chunk: How many are measured at a time.
        on_chunk: Called with what was measured, before it counts as known.
        first: How many of the first call count as used before the others are
            measured, which may depend on what is used.

    Attributes:
        known: Every result by its subnet.
        used: Those that the search has asked for, in order.
    """

    def __init__(
        self,
        measure: Measure,
        known: Sequence[Member] = (),
        chunk: int = 8,
        on_chunk: Callable[[Sequence[Member]], None] | None = None,
        first: int = 0,
    ) -> None:
        self.measure = measure
        self.first = first
        self.chunk = chunk
        self.on_chunk = on_chunk
        self.known = {member.subnet: member for member in known}
        self.used: dict[Subnet, Member] = {}

    def __call__(self, subnets: Sequence[Subnet]) -> list[Member]:
        """Results of subnets, measured if they are not known."""
        if not self.used and 0 < self.first < len(subnets):
            self(subnets[: self.first])
        new = [s for s in dict.fromkeys(subnets) if s not in self.known]
        for begin in range(0, len(new), self.chunk):
            members = self.measure(new[begin : begin + self.chunk])
            if self.on_chunk is not None:
                self.on_chunk(members)
            self.known.update({m.subnet: m for m in members})
        found = [self.known[subnet] for subnet in subnets]
        self.used.update({member.subnet: member for member in found})
        return found


@contextmanager
def open_evaluations(
    path: Path, header: Mapping[str, Any], space: SearchSpace, resume: bool
) -> Iterator[list[Member]]:
    """Begins an ``evaluations.jsonl`` or goes on with it, alone.

    Its first line is the header: what results depend on, as plain values.

    Yields:
        What is known; :func:`append_evaluations` adds to the file.

    Raises:
        FileExistsError: If there is a file, and not to be resumed.
        ValueError: If another process writes into it, or it is broken or of
            other settings; names what differs, or the line.
    """
    with lock(path):
        is_new = not path.exists()
        if is_new:
            write_atomically(_to_line(header).encode(), path)
        elif not resume:
            raise FileExistsError(in_use(path))
        try:
            there, members = read_evaluations(path, space)
            if difference := difference_of(there, header):
                raise ValueError(
                    f'{path} is of another search: {difference}. Use another '
                    'work directory, or start anew without --resume in an '
                    'empty one.'
                )
            os.truncate(path, path.read_bytes().rfind(b'\n') + 1)
            yield members
        except Exception:
            # Nothing to resume: the next search need not avoid it.
            if is_new and path.read_bytes().count(b'\n') == 1:
                path.unlink()
            raise


def append_evaluations(path: Path, members: Sequence[Member]) -> None:
    """Adds lines with one write, and flushes them to disk."""
    text = ''.join(_to_line(member.to_dict()) for member in members)
    with naming_file(path), path.open('ab') as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def in_use(path: Path) -> str:
    """What to say of a file where a search would begin anew."""
    return (
        f'{path} is there already: --resume goes on with that search, another '
        '--work-dir begins a new one'
    )


def read_evaluations(
    path: str | Path, space: SearchSpace
) -> tuple[dict[str, Any], list[Member]]:
    """Header and results of an ``evaluations.jsonl``.

    A last line that a kill or a full disk has cut does not count.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is changed or of another space, or the first
            one is cut.
    """
    text = Path(path).read_text(encoding='utf-8', errors='replace')
    text, end, _ = text.rpartition('\n')
    if not end:
        raise ValueError(
            f'{path}: line 1 is cut or the file is empty; to begin anew, move '
            'the file away'
        )
    header: dict[str, Any] = {}
    members = []
    for number, line in enumerate(text.split('\n'), start=1):
        try:
            record = _from_line(line)
            if number == 1:
                header = record
                continue
            member = Member.from_dict(record)
            space.check(member.subnet)
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{path}: line {number}: {error}') from error
        members.append(member)
    return header, members


def _to_line(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True)
    return json.dumps({**record, _CHECK: crc32(text.encode())}) + '\n'


def _from_line(line: str) -> dict[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict) or _CHECK not in record:
        raise ValueError(f'no record of a search: {line!r:.80}')
    check = record.pop(_CHECK)
    text = json.dumps(record, sort_keys=True)
    if check != crc32(text.encode()):
        raise ValueError('its content does not fit its checksum')
    return record
