"""Every subnet is evaluated once; what is known outlives the process."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

from eavit_mm.files import create_atomically
from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.pareto import Member

Measure = Callable[[Sequence[Subnet]], Sequence[Member]]
_CHECK = 'crc32'


class Evaluations:
    """Evaluated subnets in order, each on a line of a file as soon as known.

    The first line says what they depend on. A search is a function of its
    settings and of these results, so it goes on by asking for them again.

    Args:
        path: ``evaluations.jsonl``; None keeps them in memory alone.
        header: What results depend on: plain values.
        measure: Evaluates subnets that are not known.
        chunk: How many are measured between two writes.
        on_chunk: Called with this object and their number after each.
    """

    def __init__(
        self,
        path: str | Path | None,
        header: Mapping[str, Any],
        measure: Measure,
        chunk: int = 8,
        on_chunk: Callable[['Evaluations', int], None] | None = None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.header = dict(header)
        self.measure = measure
        self.chunk = chunk
        self.on_chunk = on_chunk
        self.known: dict[Subnet, Member] = {}
        # Asked for by the search, in order: what it has seen of the known.
        self.used: dict[Subnet, Member] = {}

    def resume(self, space: SearchSpace) -> int:
        """Reads the file of an earlier run; without one, begins anew.

        Returns:
            How many subnets are known.

        Raises:
            ValueError: If it is broken or of other settings; names the line.
        """
        if self.path is None or not self.path.exists():
            self.start()
            return 0
        header, members = read_evaluations(self.path, space)
        differ = sorted(
            key
            for key in {*header, *self.header}
            if header.get(key) != self.header.get(key)
        )
        if differ:
            key = differ[0]
            raise ValueError(
                f'{self.path} is of another search: {differ} differ; '
                f'{key}={header.get(key)!r:.200} there, '
                f'{self.header.get(key)!r:.200} here. Use another work '
                'directory, or start anew without --resume in an empty one.'
            )
        self.known = {member.subnet: member for member in members}
        return len(self.known)

    def start(self) -> None:
        """Begins anew: the file appears whole, with its first line.

        Raises:
            FileExistsError: If there is one already.
        """
        if self.path is None:
            return
        try:
            create_atomically(f'{_line(self.header)}\n'.encode(), self.path)
        except FileExistsError as error:
            raise FileExistsError(in_use(self.path)) from error

    @contextmanager
    def opened(self, space: SearchSpace, resume: bool) -> Iterator[int]:
        """Starts or resumes, and lets no other search write meanwhile.

        Gives how many subnets are known.

        Raises:
            FileExistsError: If there is a file, and not to be resumed.
            ValueError: If another process writes into it, or as
                :meth:`resume`.
        """
        is_new = not resume or not (self.path and self.path.exists())
        if is_new:
            self.start()
        with _alone(self.path):
            try:
                yield self.resume(space) if resume else 0
            except Exception:
                # Nothing to resume: the next search need not avoid it.
                if is_new and self.path and not self.known:
                    self.path.unlink()
                raise

    def __call__(self, subnets: Sequence[Subnet]) -> list[Member]:
        """Results of subnets, measured if they are not known."""
        new = [s for s in dict.fromkeys(subnets) if s not in self.known]
        for begin in range(0, len(new), self.chunk):
            members = self.measure(new[begin : begin + self.chunk])
            self._append([member.to_dict() for member in members])
            self.known.update({m.subnet: m for m in members})
            if self.on_chunk is not None:
                self.on_chunk(self, len(members))
        found = [self.known[subnet] for subnet in subnets]
        self.used.update({member.subnet: member for member in found})
        return found

    def _append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Adds lines with one write, and flushes them to disk."""
        if self.path is None:
            return
        text = ''.join(f'{_line(record)}\n' for record in records)
        with self.path.open('ab') as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())


def in_use(path: Path) -> str:
    """What to say of a file where a search would begin anew."""
    return (
        f'{path} is there already: --resume goes on with that search, another '
        '--work-dir begins a new one'
    )


@contextmanager
def _alone(path: Path | None) -> Iterator[None]:
    """Holds a lock on a file; it falls with the process.

    Raises:
        ValueError: If another process holds it.
    """
    if path is None:
        yield
        return
    with path.open('rb') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f'{path}: another search is writing into it; wait for its '
                'end, or use another --work-dir'
            ) from error
        yield


def _line(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True)
    return json.dumps({**record, _CHECK: crc32(text.encode())})


def read_evaluations(
    path: str | Path, space: SearchSpace
) -> tuple[dict[str, Any], list[Member]]:
    """Header and results of an ``evaluations.jsonl``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is cut, changed or of another space.
    """
    text = Path(path).read_text(encoding='utf-8', errors='replace')
    if not text.endswith('\n'):
        number = text.count('\n') + 1
        raise ValueError(
            f'{path}: line {number} is cut or the file is empty. To go on '
            'with what stands before it, delete that line; to begin anew, '
            'move the file away.'
        )
    header: dict[str, Any] = {}
    members = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            record = _read_line(line)
            if number == 1:
                header = record
                continue
            member = Member.from_dict(record)
            space.check(member.subnet)
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{path}: line {number}: {error}') from error
        members.append(member)
    return header, members


def _read_line(line: str) -> dict[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict) or _CHECK not in record:
        raise ValueError(f'no record of a search: {line!r:.80}')
    check = record.pop(_CHECK)
    text = json.dumps(record, sort_keys=True)
    if check != crc32(text.encode()):
        raise ValueError('its content does not fit its checksum')
    return record
