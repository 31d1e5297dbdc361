"""Tools of the project and of mmseg, on a segmentor and on its export."""

import json
import runpy
from argparse import Namespace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config, config
from seg_project import (
    COLOURS,
    NAMES,
    STOCK,
    randomised,
    run_tool,
    write_config,
)
from tool_runs import TOOLS

from eavit_mm import apis
from eavit_mm.export.directory import read_network

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    # Half of the time of such runs is how their configs are laid out.
    monkeypatch.setattr(config, 'FormatCode', lambda text, **_: (text, True))


@pytest.fixture(scope='module')
def project(tmp_path_factory) -> tuple[Path, Path, Path]:
    """A config, what mmseg's tool has trained with it, and a subnet's file."""
    folder = tmp_path_factory.mktemp('seg')
    cfg = write_config(folder)
    run_tool(STOCK / 'train.py', cfg, '--work-dir', folder / 'trained')
    checkpoint = folder / 'trained' / 'iter_2.pth'
    saved = torch.load(checkpoint, weights_only=True)
    randomised(saved['state_dict'])
    torch.save(saved, checkpoint)
    half = apis.load(cfg, checkpoint).model.backbone.space.uniform(0.5)
    (folder / 'half.json').write_text(half.to_json())
    return cfg, checkpoint, folder / 'half.json'


@pytest.fixture(scope='module')
def exported(project, tmp_path_factory) -> tuple[Path, Path]:
    """Config and weights of the subnet as a network of its own."""
    out = tmp_path_factory.mktemp('export') / 'half'
    files = ('--format', 'onnx', 'pt2', '--rounds', '1', '--images', '3')
    cfg, checkpoint, half = project
    args = (cfg, checkpoint, '--subnet', half, '--out', out, *files)
    run_tool(TOOLS / 'export.py', *args)
    return out / 'config.py', out / 'model.pth'


def images(project: Any) -> list[str]:
    return sorted(map(str, project[0].parent.glob('images/test/*')))


@pytest.fixture(scope='module')
def predicted(project) -> dict[str, list[np.ndarray]]:
    """The classes of the test images, by the largest subnet and by half."""
    network = apis.load(*project[:2])
    backbone, found = network.model.backbone, {}
    for name, share in (('largest', 1.0), ('half', 0.5)):
        backbone.set_subnet(backbone.space.uniform(share))
        rows = apis.predict(network, images(project))
        found[name] = [row['pred_sem_seg'] for row in rows]
    assert any((a != b).any() for a, b in zip(*found.values(), strict=True))
    return found


def are_masks_in(folder: Path, expected: list[np.ndarray]) -> None:
    paths = sorted(folder.glob('*.png'))
    for path, labels in zip(paths, expected, strict=True):
        np.testing.assert_array_equal(cv2.imread(str(path), 0), labels)


def test_the_stock_tool_tests_a_supernet(project, predicted, call, tmp_path):
    """What it writes of each subnet stays apart, masks and pictures."""
    to = ('--work-dir', 'work', '--out', 'masks', '--show-dir', 'shown')
    often = ('--cfg-options', 'default_hooks.visualization.interval=1')
    call(STOCK / 'test.py', *project[:2], *to, *often)
    for name, labels in predicted.items():
        are_masks_in(tmp_path / 'masks' / name, labels)
        pictures = (tmp_path / 'shown').rglob(f'{name}/*.png')
        assert len(list(pictures)) == 3
    call(STOCK / 'test.py', *project[:2], *to, '--tta')
    assert len(list((tmp_path / 'masks' / 'smallest').iterdir())) == 3


def test_stock_tools_run_an_export(exported, predicted, call, tmp_path):
    work = ('--work-dir', 'work')
    call(STOCK / 'test.py', *exported, *work, '--out', 'masks')
    are_masks_in(tmp_path / 'masks', predicted['half'])
    call(STOCK / 'test.py', *exported, *work, '--tta')
    call(STOCK / 'train.py', exported[0], *work)
    files = (exported[1], tmp_path / 'work' / 'iter_2.pth')
    before, after = (torch.load(path)['state_dict'] for path in files)
    names = [name for name in before if 'bn' not in name]
    steps = [(after[name] - before[name]).abs().max() for name in names]
    assert 0 < min(steps) < max(steps) < 0.1


def test_the_stock_inferencer_runs_an_export(
    project, exported, predicted, tmp_path
):
    network = apis.MMSegInferencer(*map(str, exported))
    assert network.model.dataset_meta == dict(classes=NAMES, palette=COLOURS)
    found = network(images(project), out_dir=str(tmp_path), return_vis=True)
    pairs = zip(predicted['half'], found['predictions'], strict=True)
    assert all((ours == theirs).all() for ours, theirs in pairs)
    supernet = apis.MMSegInferencer(*map(str, project[:2]))
    supernet.model.set_budget(0.5)
    assert supernet(images(project)[0])['predictions'].shape == (18, 24)


def test_what_an_export_says(project, exported):
    folder = exported[0].parent
    report = json.loads((folder / 'report.json').read_text())
    about = report['input']
    assert about == dict(
        shape=['batch', 3, 16, 16],
        to_rgb=True,
        channel_order='RGB',
        classes=NAMES,
        palette=COLOURS,
        mean=[100.0, 110.0, 150.0],
        std=[20.0, 30.0, 25.0],
        align_corners=False,
    )
    graph = onnx.load(folder / 'model.onnx')
    assert about == {p.key: json.loads(p.value) for p in graph.metadata_props}
    assert report['images'] == 3
    network = read_network(folder)
    assert type(network).__name__ == 'EncoderDecoder'
    assert network.test_cfg.mode == 'slide'
    # Its BatchNorm is the subnet's own, not that of all of them.
    name = 'decode_head.convs.0.bn.running_mean'
    saved = torch.load(project[1], weights_only=True)['state_dict']
    found = network.state_dict()[name]
    assert (found - saved[name]).abs().max() > 0.05


def test_a_search_measures_what_a_test_does(project, call, tmp_path):
    """Each subnet with the statistics of its own."""
    cfg, checkpoint, _ = project
    call('search.py', cfg, checkpoint, '--work-dir', 'search')
    front = json.loads((tmp_path / 'search' / 'pareto.json').read_text())
    member = front['members'][0]
    (tmp_path / 'one.json').write_text(json.dumps(member['subnet']))
    same = 'test_dataloader.dataset.data_prefix.{}={}/val'
    places = (('img_path', 'images'), ('seg_map_path', 'labels'))
    options = [same.format(*place) for place in places]
    args = ('--subnet', 'one.json', '--out', 'one_out.json', '--cfg-options')
    call('test.py', cfg, checkpoint, *args, *options)
    (row,) = json.loads((tmp_path / 'one_out.json').read_text())['subnets']
    assert row['metrics'] == member['metrics']
    assert row['macs_of_parts']['total'] == row['macs'] == member['macs']
    few = ('--pareto', 'search/pareto.json', '--out', 'front', '--rounds', '1')
    call('export.py', cfg, checkpoint, *few)
    assert ' decode_head ' in (tmp_path / 'front' / 'table.txt').read_text()


def test_budgets_of_a_part_and_tta(project, call, tmp_path, capsys):
    asked = ('--budgets', '50%', '--part', 'backbone', '--out', 'out.json')
    bare = ('--tta', '--cfg-options', 'tta_model=None')
    call('test.py', *project[:2], *asked, *bare)
    (row,) = json.loads((tmp_path / 'out.json').read_text())['subnets']
    text = capsys.readouterr().out
    assert ' decode_head ' in text
    assert ' % budget of backbone ' in text
    network = apis.load(*project[:2])
    whole = network.model.macs()['backbone']
    assert row['macs_of_parts']['backbone'] <= 0.5 * whole < row['macs']
    (answer,) = apis.ask(network, '50%', part='backbone')
    assert answer['subnet'] == row['subnet']
    assert answer['part'] == row['part'] == 'backbone'
    # What an adaptation evaluates and exports is of its router's part.
    check = runpy.run_path(str(TOOLS / 'adapt.py'))['check_budgets']
    given = Namespace(
        budgets=['50%', '1%'], part='backbone', latency_table=None
    )
    with pytest.raises(ValueError, match='of the backbone cannot be reached'):
        check(Config.fromfile(project[0]), given)


def test_cuts_of_a_segmentor(project, call, tmp_path):
    """The head sees the whole embedding: its numbers change by cuts alone."""
    cfg, checkpoint, _ = project
    few = ('--images', '8', '--batch-size', '4', '--budgets', '60%')
    call('snap.py', cfg, checkpoint, *few, '--work-dir', 'snap')
    files = cfg, tmp_path / 'snap' / 'snap.pth'
    front = ('--front', 'snap/pareto.json')
    call('test.py', *files, *front, '--budgets', '1.0', '60%', '--out', 'a')
    call('test.py', cfg, checkpoint, '--budgets', '1.0', '--out', 'b')
    rows, (whole,) = (
        json.loads((tmp_path / name).read_text())['subnets'] for name in 'ab'
    )
    assert rows[0]['metrics'] == pytest.approx(whole['metrics'])
    assert 0.5 < rows[1]['macs_ratio'] <= 0.6
    call('export.py', *files, *front, '--budget', '60%', '--out', 'out')
    network = read_network(tmp_path / 'out')
    assert type(network).__name__ == 'EncoderDecoder'


def test_latency_and_order_of_a_segmentor(project, call, tmp_path):
    cfg, checkpoint, _ = project
    few = ('--rounds', '1', '--threads', '1')
    call('latency.py', 'build', cfg, 'table.json', *few)
    call('latency.py', 'validate', cfg, 'table.json', '--num', '2', *few)
    assert json.loads((tmp_path / 'table.json').read_text())['error'] >= 0

    call('rearrange.py', cfg, checkpoint, 'sorted.pth', '--num-batches', '2')
    files = ('sorted.pth', checkpoint)
    ours, given = (apis.load(cfg, path).model.double() for path in files)
    x = torch.rand(2, 3, 16, 16).double()
    with torch.no_grad():
        torch.testing.assert_close(ours(x), given(x), atol=1e-9, rtol=0)
    assert not torch.equal(ours.backbone.pos_embed, given.backbone.pos_embed)
