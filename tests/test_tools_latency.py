"""tools/latency.py: tables of a space, a device and threads."""

import json
import runpy
import sys

import pytest
import torch
from tool_runs import DIGITS, TOOLS

from eavit_mm.analysis import latency
from eavit_mm.registry import LATENCY_BACKENDS
from eavit_mm.space.latency import LatencyTable

TINY = dict(num_layers=1, embed_dims=8, num_heads=2, feedforward_channels=8)
FEW = ('--rounds', '1', '--threads', '1')


def config(path, widths):
    """Writes the config of a tiny supernet."""
    space = dict(embed_dims=widths, num_heads=[2], feedforward_channels=[8])
    path.write_text(
        f"_base_ = ['{DIGITS}']\n"
        f'model = dict(backbone=dict(arch={TINY}, init_cfg=None,\n'
        f'    space=dict({space}, max_off=2, _delete_=True)),\n'
        '    head=dict(in_channels=8))\n'
    )
    return path


@pytest.fixture(scope='module')
def latency_table(tmp_path_factory):
    """A config of two widths, its table narrowed to one, by which option."""
    folder = tmp_path_factory.mktemp('latency')
    cfg, out = config(folder / 'two.py', [4, 8]), folder / 'table.json'
    narrow = ('--cfg-options', 'model.backbone.space.embed_dims=[8]')
    tool = str(TOOLS / 'latency.py')
    args = [tool, 'build', str(cfg), str(out), *FEW, *narrow]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', args)
        runpy.run_path(tool, run_name='__main__')
    return cfg, out, narrow


def test_latency_of_a_space_of_options(latency_table, call):
    cfg, out, narrow = latency_table
    values = json.loads(out.read_text())
    assert list(values['stem']) == ['8']
    assert values['backend'] == 'torch'
    check = ('validate', cfg, out, '--num', '3', '--rounds', '1')
    call('latency.py', *check, *narrow)
    assert json.loads(out.read_text())['error'] >= 0
    with pytest.raises(SystemExit, match='embed_dims=') as error:
        call('latency.py', *check)
    assert str(error.value).startswith('error: the latency table has no')


@pytest.fixture
def tiny(tmp_path):
    """A config whose space has one width."""
    return config(tmp_path / 'tiny.py', [8])


def test_a_table_of_a_registered_backend(tiny, call, tmp_path, monkeypatch):
    """It runs all networks, of the validation too; the table says so."""
    ran = []

    def run_mine(model, subnet, images):
        around, run = latency.run_sliced(model, subnet, images)
        return around, lambda: ran.append(subnet) or run()

    backends = {**LATENCY_BACKENDS.module_dict, 'mine': run_mine}
    monkeypatch.setattr(LATENCY_BACKENDS, '_module_dict', backends)
    monkeypatch.setattr(
        latency, '_draw', lambda model, *_: [model.backbone.space.largest] * 2
    )
    out = tmp_path / 'table.json'
    call('latency.py', 'build', tiny, out, *FEW, '--backend', 'mine')
    assert len({*ran}) == 4
    table = LatencyTable.read(out)
    assert table.backend == table.times['backend'] == 'mine'
    ran.clear()
    check = ('validate', tiny, out, '--num', '2', '--rounds', '1')
    call('latency.py', *check)
    assert len(ran) == 12
    assert LatencyTable.read(out).times == table.times
    del backends['mine']
    with pytest.raises(SystemExit, match="backend='mine'; must be one of"):
        call('latency.py', *check)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--backend', 'tensorrt'], "='tensorrt'; must be one of .*'onn"),
        (['--backend', 'onnxruntime', '--dtype', 'bfloat16'], 'be float32'),
        (['--device', 'tpu9'], 'error: device=tpu9: '),
        (['--device', 'meta'], 'error: device=meta: '),
        (['--batch-size', str(2**62)], 'RuntimeError: '),
        (['--batch-size', '9' * 400], 'batch_size=9+; must be an integer'),
    ],
)
def test_what_cannot_be_measured_is_said(
    tiny, call, tmp_path, options, message
):
    build = ('build', tiny, 'out.json', '--rounds', '1')
    with pytest.raises(SystemExit, match=message) as error:
        call('latency.py', *build, *options)
    assert '\n' not in str(error.value)
    assert not (tmp_path / 'out.json').exists()


def test_a_missing_package_is_named(tiny, call, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    words = '--backend onnxruntime needs the pac'
    with pytest.raises(SystemExit, match=words):
        call('latency.py', 'build', tiny, 'o', '--backend', 'onnxruntime')


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
    cfg, out, narrow = latency_table
    table = tmp_path / 'other.json'
    table.write_text(json.dumps({**json.loads(out.read_text()), **changes}))
    before = table.read_text()
    check = ('validate', cfg, table, '--num', '3', '--rounds', '1')
    try:
        with pytest.raises(SystemExit, match=message):
            call('latency.py', *check, *options, *narrow)
    finally:
        torch.set_num_threads(1)
    assert table.read_text() == before
