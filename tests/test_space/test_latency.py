from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from eavit_mm.files import write_json
from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.latency import LatencyTable

NETWORK = SimpleNamespace(num_tokens=5, head_dims=8)
SPACE = SearchSpace([8, 16], [[1, 2, 3], [1]], [4, 8], 2, 8, max_off=4)
TABLE = LatencyTable(
    device='a device',
    dtype='float32',
    batch_size=4,
    threads=1,
    num_tokens=5,
    head_dims=8,
    stem={8: 1.0, 16: 2.0},
    num_heads={8: {1: 0.1, 2: 0.2, 3: 0.3}, 16: {1: 0.4, 2: 0.5, 3: 0.6}},
    feedforward_channels={8: {4: 10.0, 8: 20.0}, 16: {4: 30.0, 8: 40.0}},
    error=0.05,
    kendall_tau=0.9,
)


def test_times_add_up_exactly_in_any_order():
    rng = np.random.default_rng(0)

    def branch(widths):
        return {e: {w: rng.random() for w in widths} for e in (8, 16)}

    table = replace(
        TABLE,
        stem={8: rng.random(), 16: rng.random()},
        num_heads=branch((1, 2, 3)),
        feedforward_channels=branch((4, 8)),
    )
    table.check(SPACE, NETWORK)
    parts = CostTable(SPACE, table)
    for _ in range(100):
        subnet = SPACE.sample(rng)
        assert parts.of_subnet(subnet) == table(subnet)
        # What is off takes no time.
        embed = subnet.embed_dims
        times = [table.stem[embed]]
        times += [table.num_heads[embed][w] for w in subnet.num_heads if w]
        times += [
            table.feedforward_channels[embed][w]
            for w in subnet.feedforward_channels
            if w
        ]
        assert table(subnet) == pytest.approx(sum(times))


@pytest.mark.parametrize(
    ('subnet', 'width'),
    [
        (Subnet(12, (1, 1), (4, 4), 8), 12),
        (Subnet(8, (1, 4), (4, 4), 8), 4),
        (Subnet(16, (1, 1), (4, 6), 8), 6),
    ],
)
def test_a_width_that_was_not_measured_is_named(subnet, width):
    words = rf'no width {width} \(at embed_dims={subnet.embed_dims}\)'
    with pytest.raises(ValueError, match=words):
        TABLE(subnet)


@pytest.mark.parametrize('name', ['num_tokens', 'head_dims'])
def test_a_table_of_another_network(name):
    other = SimpleNamespace(**{**vars(NETWORK), name: 7})
    with pytest.raises(ValueError, match=f'another network: {name}='):
        TABLE.check(SPACE, other)


def test_heads_of_several_widths_are_refused():
    with pytest.raises(ValueError, match=r'head_dims=\[4, 8\]; a latency tab'):
        TABLE.check(replace(SPACE, head_dims=[4, 8]), NETWORK)


def without(axis, embed, width=None):
    values = TABLE.to_dict()
    if width is None:
        values[axis].pop(embed)
    else:
        values[axis][embed].pop(width)
    return replace(TABLE, **{axis: values[axis]})


@pytest.mark.parametrize(
    'table',
    [
        without('stem', 16),
        without('num_heads', 8),
        without('feedforward_channels', 16),
        *(without('num_heads', 8, width) for width in (1, 2, 3)),
        *(without('feedforward_channels', 16, width) for width in (4, 8)),
    ],
)
def test_a_table_that_lacks_something(table):
    with pytest.raises(ValueError, match='another space'):
        table.check(SPACE, NETWORK)


def test_a_file_gives_back_what_was_written(tmp_path):
    path = tmp_path / 'latency.json'
    write_json(TABLE.to_dict(), path)
    assert LatencyTable.read(path) == TABLE
    unchecked = replace(TABLE, error=None, kendall_tau=None)
    write_json(unchecked.to_dict(), path)
    assert LatencyTable.read(str(path)) == unchecked


BROKEN = [
    (dict(stem={}), 'stem={}; must be widths and ms'),
    (dict(stem={'8': None}), 'stem: None; must be milliseconds'),
    (dict(stem={'8': -1.0}), 'stem: -1.0; must be milliseconds'),
    (dict(stem={'8': float('nan')}), 'stem: nan; must be milliseconds'),
    (
        dict(stem={'8': 1e300}),
        r'stem: 1e\+300; must be milliseconds, at most 1e\+05',
    ),
    (
        dict(stem={'8': 1.0, '16': 1e-12}),
        'stem={8: 1.0, 16: 1e-12}; a network takes time',
    ),
    (dict(stem={'8.5': 1.0}), "stem: '8.5' is no embed_dims or width"),
    (dict(num_heads=[1]), r'num_heads=\[1\]; must be a dict'),
    (dict(num_heads={'8': {}}), 'num_heads={}; must be widths and ms'),
    (
        dict(feedforward_channels={'a': {'4': 1.0}}),
        "feedforward_channels: 'a' is no embed_dims or width",
    ),
    (dict(feedforward_channels={'8': {'4': '1'}}), "'1'; must be millisec"),
    (dict(more=1), r"latency table: unknown keys \['more'\], missing keys"),
    (dict(dtype='int3'), "dtype='int3'; must be one of"),
    (dict(batch_size=0), 'batch_size=0; must be an integer of at least 1'),
    (dict(threads=None), 'threads=None; must be an integer'),
    (dict(device=3), 'device=3; must be a name'),
    (dict(error='small'), "error='small'; must be a number"),
    (dict(kendall_tau=[]), r'kendall_tau=\[\]; must be a number'),
    (dict(stem={'08': 1.0}), "stem: '08' is no embed_dims or width"),
    (dict(stem={'9' * 400: 1.0}), "stem: '9+ is no embed_dims or width"),
    (dict(stem={'8': 10**400}), 'stem: 10+; must be milliseconds'),
    (dict(stem={'8': True}), 'stem: True; must be milliseconds'),
    *[
        ({name: value}, f'{name}=.*; must be')
        for name in ('batch_size', 'threads', 'num_tokens', 'error')
        for value in (10**400, True, '1', [1])
    ],
]


@pytest.mark.parametrize(('changes', 'words'), BROKEN)
def test_what_is_wrong_is_said(tmp_path, changes, words):
    path = tmp_path / 'latency.json'
    write_json({**TABLE.to_dict(), **changes}, path)
    with pytest.raises(ValueError, match=f'{path}: .*{words}'):
        LatencyTable.read(path)


def test_other_files(tmp_path):
    path = tmp_path / 'latency.json'
    with pytest.raises(
        FileNotFoundError, match='latency.json: no such file; tools'
    ):
        LatencyTable.read(path)
    for wrong in ('', '[]'):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=f'{path}: '):
            LatencyTable.read(path)
