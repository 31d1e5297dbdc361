"""Wrong files of a subnet."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from .mutation import TEST, Mutation
from .workspace import SUBNET

COMMAND = (*TEST, '--subnet', 'subnet.json')
TEXT = json.dumps(SUBNET)
FILE = 'no JSON'
OUTSIDE = 'is outside this space', 'another supernet'

# The words of every wrong value: test_space/test_subnet.py and
# test_search_space.py.
FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    'cut_by_a_byte': (TEXT[:-1].encode(), (FILE,)),
    'not_utf8': (b'\xff\xfe' + TEXT.encode(), (FILE,)),
    'deep': (b'[' * 100_000, (FILE,)),
}
# A field, its wrong value, what the error must say.
VALUES: list[tuple[str, Any, tuple[str, ...]]] = [
    ('depth', 2, ("subnet: unknown keys ['depth']",)),
    ('embed_dims', 6, ('embed_dims=6', *OUTSIDE, '4, 8, 12')),
    ('num_heads', [1, 2], ("['num_heads'] must share one choice",)),
    ('side', 'suffix', ("side='suffix'", 'this space has prefixes')),
]


def _write(data: bytes, folder: Path) -> None:
    (folder / 'subnet.json').write_bytes(data)


def _remove(folder: Path) -> None:
    (folder / 'subnet.json').unlink()


def _make_folder(folder: Path) -> None:
    _remove(folder)
    (folder / 'subnet.json').mkdir()


def _with(field: str, value: Any) -> bytes:
    return json.dumps({**SUBNET, field: value}).encode()


def mutations() -> list[Mutation]:
    """One wrong file each."""
    said: list[tuple[str, Any, tuple[str, ...]]] = [
        ('missing', _remove, ()),
        ('folder', _make_folder, ()),
    ]
    for name, (data, words) in FILES.items():
        said.append((name, partial(_write, data), words))
    for field, value, words in VALUES:
        spoil = partial(_write, _with(field, value))
        said.append((f'{field}={value!r}', spoil, words))
    return [
        Mutation(name, COMMAND, spoil, ('subnet.json', *words))
        for name, spoil, words in said
    ]
