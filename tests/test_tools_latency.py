"""tools/latency.py: tables of a space, a device and threads."""

import json

import pytest
import torch
from tool_runs import DIGITS, TOOLS, run


@pytest.fixture(scope='module')
def latency_table(tmp_path_factory):
    """A table of a narrowed space, by --cfg-options."""
    folder = tmp_path_factory.mktemp('latency')
    narrow = 'model.backbone.space.embed_dims=[96]'
    out = folder / 'table.json'
    where = ('build', DIGITS, out, '--rounds', '1', '--threads', '1')
    run(TOOLS / 'latency.py', *where, '--cfg-options', narrow, cwd=folder)
    return out, narrow


def test_latency_of_a_space_of_options(latency_table, call):
    out, narrow = latency_table
    values = json.loads(out.read_text())
    assert list(values['stem']) == ['96']
    check = ('validate', DIGITS, out, '--num', '3', '--rounds', '1')
    call('latency.py', *check, '--cfg-options', narrow)
    assert json.loads(out.read_text())['error'] >= 0
    with pytest.raises(SystemExit, match='embed_dims=') as error:
        call('latency.py', *check)
    assert str(error.value).startswith('error: the latency table has no')


@pytest.mark.parametrize(
    ('changes', 'options', 'message'),
    [
        ({}, ['--threads', '-1'], '--threads=-1; must be an integer of at'),
        ({}, ['--threads', '0'], '--threads=0; must be an integer of at'),
        ({}, ['--threads', '2'], 'threads=2; the table is of 1'),
        (dict(device='another'), [], "is of 'another', this device is"),
    ],
)
def test_latency_of_another_device(
    latency_table, call, tmp_path, changes, options, message
):
    out, narrow = latency_table
    table = tmp_path / 'other.json'
    table.write_text(json.dumps({**json.loads(out.read_text()), **changes}))
    before = table.read_text()
    check = ('validate', DIGITS, table, '--num', '3', '--rounds', '1')
    try:
        with pytest.raises(SystemExit, match=message):
            call('latency.py', *check, *options, '--cfg-options', narrow)
    finally:
        torch.set_num_threads(1)
    assert table.read_text() == before
