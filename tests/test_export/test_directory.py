"""A folder is an export, whole and checked, or it is not there."""

import json

import onnx
import pytest
import torch
from mmengine.config import Config
from toys import assert_same_weights, snapshot

from eavit_mm.export import directory
from eavit_mm.export.dense import dense_network
from eavit_mm.export.directory import (
    check_folder,
    read_network,
    read_report,
)
from eavit_mm.export.table import format_front, front_row
from eavit_mm.space import Subnet

from .toys import exporter, member


def files(folder):
    return sorted(path.name for path in folder.iterdir())


PLAIN = ['config.py', 'model.pth', 'report.json', 'subnet.json']


def test_what_an_export_holds(tmp_path):
    names = [f'class {i}' for i in range(9)]
    ours = exporter(
        formats=['pt2', 'onnx'],
        images=torch.ones(3, 3, 8, 12),
        meta=dict(classes=names),
        opset=17,
    )
    out = tmp_path / 'a' / 'b'
    report = ours.export(member(), out)
    assert files(out) == sorted([*PLAIN, 'model.onnx', 'model.pt2'])
    assert files(out.parent) == ['b']
    assert report == json.loads((out / 'report.json').read_text())
    assert Subnet.from_file(out / 'subnet.json') == member()
    saved = torch.load(out / 'model.pth', weights_only=True)
    assert saved.pop('meta') == dict(dataset_meta=dict(classes=names))
    (state,) = saved.values()
    assert all(type(value) is torch.Tensor for value in state.values())
    assert all(value.dtype == torch.float32 for value in state.values())
    model = ours.model
    assert report['macs'] == model.macs(member())['total']
    assert report['params'] == model.params(member())['total']
    assert report['params_of_parts'] == model.params(member())
    assert report['params_of_largest'] == model.params()['total']
    found = report['max_difference']
    assert set(found) == {'model.pth', 'model.onnx', 'model.pt2'}
    assert found['model.pth']['float64'] < 1e-9
    assert found['model.pth']['float32'] < 1e-4
    assert report['images'] == 3
    assert report['batch_sizes'] == [1, 7]
    assert report['bytes'] == {
        name: (out / name).stat().st_size
        for name in ('model.onnx', 'model.pt2', 'model.pth')
    }
    about = dict(
        shape=['batch', 3, 8, 12],
        to_rgb=False,
        channel_order='BGR',
        classes=names,
    )
    assert report['input'] == about
    graph = onnx.load(out / 'model.onnx')
    props = {p.key: json.loads(p.value) for p in graph.metadata_props}
    assert props == about
    assert graph.opset_import[0].version == 17
    network, x = read_network(out), torch.randn(2, 3, 8, 12)
    with torch.no_grad(), model.backbone.use(member()):
        torch.testing.assert_close(network(x), model(x))
    assert ours.is_complete(member(), out)
    assert not ours.is_complete(member(8), out)
    ours.opset = 20
    assert not ours.is_complete(member(), out)
    ours.opset = 17
    (out / 'model.pt2').unlink()
    assert not ours.is_complete(member(), out)
    assert not exporter(source=dict(sha256='d')).is_complete(member(), out)


def test_an_earlier_export_is_replaced_and_leftovers_go(tmp_path):
    ours, out = exporter(), tmp_path / 'out'
    out.mkdir()  # empty
    # Of a killed export of this folder, and of another one.
    for name in ('.out.0123abcd.partial', '.out.b.0123abcd.partial'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'model.pth').write_text('half')
    ours.export(member(), out)
    ours.export(member(8), out)
    assert files(tmp_path) == [name, 'out']
    # Wherever it is moved to.
    out = out.rename(tmp_path / 'it\'s "mine"')
    assert Config.fromfile(out / 'config.py').load_from == str(
        out / 'model.pth'
    )
    assert read_report(out)['subnet'] == member(8).to_dict()
    assert Config.fromfile(out / 'config.py').model.head == dict(
        type='LinearClsHead', num_classes=9, in_channels=8
    )


def test_a_corrected_export(tmp_path):
    x = torch.randn(9, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    ours, out = exporter(calibration=x.split(4)), tmp_path / 'out'
    weights = snapshot(ours.model)
    report = ours.export(member(24), out)
    assert report == json.loads((out / 'report.json').read_text())
    made = report['correction']
    assert made['images'] == 9
    assert made['error'] < made['error_before']
    # It is the corrected network that the files are compared with.
    assert report['max_difference']['model.pth']['float64'] < 1e-9
    network, vit = read_network(out), ours.model.backbone
    with torch.no_grad():
        (expected,) = vit(x)
        with vit.use(member(24)):
            (cut,) = vit(x)
        (found,) = network.backbone(x)
    squares = expected.square().sum()
    for features, name in ((cut, 'error_before'), (found, 'error')):
        error = (features - expected).square().sum() / squares
        assert made[name] == pytest.approx(error.item(), rel=1e-4)
    assert_same_weights(ours.model, weights)
    table = dict(metric='top1', networks=[front_row('a', 9.0, report)])
    assert format_front(table).endswith('\ntop1: before the correction')
    # Without the correction, or by other images, it is another network.
    assert ours.is_complete(member(24), out)
    assert not exporter().is_complete(member(24), out)
    for others in ([x[:8]], [x + 1]):
        assert not exporter(calibration=others).is_complete(member(24), out)
    assert exporter(calibration=[x]).is_complete(member(24), out)


@pytest.mark.parametrize('names', [['notes.txt'], ['config.py'], PLAIN[:2]])
def test_other_files_are_not_written_over(tmp_path, names):
    out = tmp_path / 'out'
    out.mkdir()
    for name in names:
        (out / name).write_text('mine')
    with pytest.raises(ValueError, match=rf'--out .*out: holds {names[0]}'):
        exporter().export(member(), out)
    assert files(out) == names
    assert files(tmp_path) == ['out']


def test_a_file_or_a_link_is_no_folder(tmp_path):
    (tmp_path / 'file').write_text('mine')
    (tmp_path / 'link').symlink_to(tmp_path)
    for name in ('file', 'link'):
        with pytest.raises(ValueError, match='must be a folder, and no link'):
            check_folder(tmp_path / name)


def spoil(monkeypatch, step):
    """Changes one number of what is exported."""

    def spoilt(*args):
        network = dense_network(*args)
        network.head.fc.bias.data[2] += step
        return network

    monkeypatch.setattr(directory, 'dense_network', spoilt)


@pytest.mark.parametrize(
    ('step', 'dtype', 'before'),
    [(0.1, 'float32', False), (0.1, 'float32', True), (1e-6, 'float64', True)],
)
def test_wrong_weights_are_no_export(
    tmp_path, monkeypatch, step, dtype, before
):
    """Nor if only float64 shows it; what was there stays."""
    out = tmp_path / 'out'
    ours = exporter()
    if before:
        ours.export(member(8), out)
    spoil(monkeypatch, step)
    with pytest.raises(ValueError, match=rf'model\.pth is not .*{dtype}'):
        ours.export(member(), out)
    assert files(tmp_path) == ['out'] * before
    if before:
        assert read_report(out)['subnet'] == member(8).to_dict()


def test_a_file_that_is_too_large_is_no_export(tmp_path, monkeypatch):
    save = torch.save

    def fat(saved, buffer):
        state = saved['state_dict'].items()
        wide = {k: torch.cat([v] * 40)[: len(v)] for k, v in state}
        save(dict(state_dict=wide), buffer)

    monkeypatch.setattr(torch, 'save', fat)
    with pytest.raises(ValueError, match=r'model\.pth has .* bytes; .* param'):
        exporter().export(member(), tmp_path / 'out')
    assert not files(tmp_path)
