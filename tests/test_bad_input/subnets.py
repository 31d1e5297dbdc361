"""Wrong files of a subnet."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from .mutation import TEST, Mutation
from .workspace import SUBNET

COMMAND = (*TEST, '--subnet', 'subnet.json')
nan, inf = float('nan'), float('inf')
TEXT = json.dumps(SUBNET)
FILE = 'not a subnet in JSON'
FIELDS = 'a subnet has the fields'
WIDTH = 'must be an integer of at least'
OUTSIDE = 'is outside this space', 'another supernet'

FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    'empty': (b'', (FILE,)),
    'cut': (TEXT[:40].encode(), (FILE,)),
    'cut_by_a_byte': (TEXT[:-1].encode(), (FILE,)),
    'two': ((TEXT + TEXT).encode(), (FILE,)),
    'python': (repr(SUBNET).encode(), (FILE,)),
    'comment': (b'// mine\n' + TEXT.encode(), (FILE,)),
    'utf16': (TEXT.encode('utf-16'), (FILE, 'utf-8')),
    'not_utf8': (b'\xff\xfe' + TEXT.encode(), (FILE, 'utf-8')),
    'byte_order_mark': (b'\xef\xbb\xbf' + TEXT.encode(), (FILE,)),
    'zeros': (bytes(64), (FILE,)),
    'list': (f'[{TEXT}]'.encode(), ('a subnet must be a dict',)),
    'text': (b'"largest"', ('must be a dict', 'largest')),
    'number': (b'0.5', ('must be a dict', '0.5')),
    'null': (b'null', ('must be a dict', 'None')),
    'nothing_in_it': (b'{}', (FIELDS, "missing: ['embed_dims'")),
    'deep': (b'[' * 100_000, (FILE,)),
    'pareto': (
        json.dumps(dict(version=1, members=[SUBNET])).encode(),
        (FIELDS, "unknown: ['members', 'version']"),
    ),
    'huge_digits': (
        TEXT.replace('8', '9' * 5000, 1).encode(),
        (FILE, 'digits'),
    ),
    'twice': (
        (TEXT[:-1] + ', "embed_dims": 4}').encode(),
        (FILE, 'embed_dims', 'twice'),
    ),
}
# A field, its wrong value (None: left out), what the error must say.
DELETED = object()
VALUES: list[tuple[str, Any, tuple[str, ...]]] = [
    ('embed_dims', DELETED, (FIELDS, "missing: ['embed_dims']")),
    ('num_heads', DELETED, (FIELDS, "missing: ['num_heads']")),
    ('head_dims', DELETED, (FIELDS, "missing: ['head_dims']")),
    ('depth', 2, (FIELDS, "unknown: ['depth']")),
    ('macs', None, (FIELDS, "unknown: ['macs']")),
    ('embed_dims', '8', ("embed_dims='8'", WIDTH)),
    ('embed_dims', 8.0, ('embed_dims=8.0', WIDTH)),
    ('embed_dims', nan, ('embed_dims=nan', WIDTH)),
    ('embed_dims', inf, ('embed_dims=inf', WIDTH)),
    ('embed_dims', True, ('embed_dims=True', WIDTH)),
    ('embed_dims', None, ('embed_dims=None', WIDTH)),
    ('embed_dims', 0, ('embed_dims=0', WIDTH)),
    ('embed_dims', -8, ('embed_dims=-8', WIDTH)),
    ('embed_dims', [8], ('embed_dims=[8]', WIDTH)),
    ('embed_dims', 6, ('embed_dims=6', *OUTSIDE, '4, 8, 12')),
    ('embed_dims', 2**70, (f'embed_dims={2**70}', *OUTSIDE)),
    ('num_heads', 2, ('num_heads=2', 'one width per layer')),
    ('num_heads', '22', ("num_heads='22'", 'one width per layer')),
    ('num_heads', {'0': 2}, ('num_heads={', 'one width per layer')),
    ('num_heads', [], ('num_heads has 0 layers',)),
    ('num_heads', [2, -1], ('layer 1: num_heads=-1', WIDTH)),
    ('num_heads', [2, False], ('layer 1: num_heads=False', WIDTH)),
    ('num_heads', [[2], [2]], ('layer 0: num_heads=[2]', WIDTH)),
    ('num_heads', [2, 4], ('layer 1: num_heads=4', *OUTSIDE, '1, 2, 3')),
    ('num_heads', [1, 2], ("['num_heads'] must share one choice",)),
    ('num_heads', [2, 2, 2], ('num_heads has 3 layers', 'the same')),
    ('feedforward_channels', [5, 7], ('layer 1', '=7', *OUTSIDE, '5, 10')),
    ('feedforward_channels', [0, 0], ('2 branches are off', 'max_off=1')),
    ('feedforward_channels', [nan, 5], ('channels=nan', WIDTH)),
    ('head_dims', 6, ('head_dims=6', 'this space has 4')),
    ('head_dims', 0, ('head_dims=0', WIDTH)),
    ('head_dims', None, ('head_dims=None', WIDTH)),
    ('side', 'suffix', ("side='suffix'", 'this space has prefixes')),
    ('side', 'left', ("side='left'", "('prefix', 'suffix')")),
    ('side', None, ('side=None', "('prefix', 'suffix')")),
    ('side', ['prefix'], ("side=['prefix']", "('prefix', 'suffix')")),
]


def _write(data: bytes, folder: Path) -> None:
    (folder / 'subnet.json').write_bytes(data)


def _remove(folder: Path) -> None:
    (folder / 'subnet.json').unlink()


def _make_folder(folder: Path) -> None:
    _remove(folder)
    (folder / 'subnet.json').mkdir()


def _with(field: str, value: Any) -> bytes:
    fields = {**SUBNET, field: value}
    if value is DELETED:
        del fields[field]
    return json.dumps(fields).encode()


def mutations() -> list[Mutation]:
    """One wrong file each."""
    said: list[tuple[str, Any, tuple[str, ...]]] = [
        ('missing', _remove, ()),
        ('folder', _make_folder, ()),
    ]
    for name, (data, words) in FILES.items():
        said.append((name, partial(_write, data), words))
    for field, value, words in VALUES:
        shown = 'left_out' if value is DELETED else repr(value)[:20]
        spoil = partial(_write, _with(field, value))
        said.append((f'{field}={shown}', spoil, words))
    return [
        Mutation(name, COMMAND, spoil, ('subnet.json', *words))
        for name, spoil, words in said
    ]
