"""Wrong files of a subnet."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from .mutation import TEST, Mutation
from .workspace import SUBNET

COMMAND = (*TEST, '--subnet', 'subnet.json')
nan = float('nan')
TEXT = json.dumps(SUBNET)
FILE = 'no JSON'
FIELDS = 'subnet: unknown keys'
WIDTH = 'must be an integer of at least'
OUTSIDE = 'is outside this space', 'another supernet'

FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    'empty': (b'', (FILE,)),
    'cut_by_a_byte': (TEXT[:-1].encode(), (FILE,)),
    'not_utf8': (b'\xff\xfe' + TEXT.encode(), (FILE,)),
    'list': (f'[{TEXT}]'.encode(), ('must be a dict of widths',)),
    'nothing_in_it': (b'{}', (FIELDS, "missing keys ['embed_dims'")),
    'deep': (b'[' * 100_000, (FILE,)),
    'huge_digits': (
        TEXT.replace('8', '9' * 5000, 1).encode(),
        (FILE, 'digits'),
    ),
}
# A field, its wrong value, what the error must say.
VALUES: list[tuple[str, Any, tuple[str, ...]]] = [
    ('depth', 2, (FIELDS, "unknown keys ['depth']")),
    ('embed_dims', nan, ('embed_dims=nan', WIDTH)),
    ('embed_dims', True, ('embed_dims=True', WIDTH)),
    ('embed_dims', 6, ('embed_dims=6', *OUTSIDE, '4, 8, 12')),
    ('num_heads', 2, ('num_heads=2', 'one width per layer')),
    ('num_heads', [2, -1], ('layer 1: num_heads=-1', WIDTH)),
    ('num_heads', [2, 4], ('layer 1: num_heads=4', *OUTSIDE, '1, 2, 3')),
    ('num_heads', [1, 2], ("['num_heads'] must share one choice",)),
    ('num_heads', [2, 2, 2], ('num_heads has 3 layers', 'the same')),
    ('feedforward_channels', [0, 0], ('2 branches are off', 'max_off=1')),
    ('head_dims', 6, ('head_dims=6', 'this space has 4')),
    ('side', 'suffix', ("side='suffix'", 'this space has prefixes')),
    ('side', 'left', ("side='left'", "('prefix', 'suffix')")),
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
