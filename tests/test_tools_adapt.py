"""All stages from one config, on a folder of images."""

import argparse
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

import eavit_mm  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / 'configs/eavit/vitmini_digits_stage2.py'


def adapt(*args: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-W', 'ignore', ROOT / 'tools/adapt.py', *args]
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False
    )


def write_digits(folder: Path, number: int) -> None:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        data = DATASETS.build(
            dict(type='eavit_mm.Digits', split='train', pipeline=[])
        )
    for i in range(number):
        place = folder / str(int(data[i]['gt_label']))
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f'{i}.png'), data[i]['img'])


def test_a_folder_of_images_becomes_networks(tmp_path: Path) -> None:
    write_digits(tmp_path / 'images', 160)
    work = tmp_path / 'work'
    args = (DIGITS, '--data', tmp_path / 'images', '--quick')
    args = (*args, '--work-dir', work, '--budgets', '0.5')
    args = (*args, '--processes', '2')
    done = adapt(*args)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    last = done.stdout.strip().splitlines()[-5:]
    assert last[0].startswith(f'Adapted checkpoint: {work}/stage2/epoch_')
    assert last[2] == f'Pareto front: {work}/search/pareto.json'
    assert last[4] == f'Exported networks: {work}/export/0.5'
    checkpoint = torch.load(last[0].split(': ')[1], weights_only=True)
    assert checkpoint['meta']['eavit_mm']['stage'] == 2
    assert checkpoint['meta']['eavit_mm']['rearrangement']
    front = json.loads((work / 'search/pareto.json').read_text())
    assert front['evaluations'] == 40
    (row,) = json.loads((work / 'budgets.json').read_text())['subnets']
    assert row['used'] <= 1
    subnet = json.loads((work / 'export/0.5/subnet.json').read_text())
    assert subnet == row['subnet']
    # Started again, nothing is trained or searched a second time.
    known = {
        path: path.read_bytes()
        for path in (
            work / 'search/pareto.json',
            work / 'search/evaluations.jsonl',
            Path(last[0].split(': ')[1]),
        )
    }
    again = adapt(*args)
    assert again.returncode == 0, again.stderr[-2000:]
    assert 'Iter(train)' not in again.stdout + again.stderr
    for path, content in known.items():
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (['configs/eavit/vitmini_digits.py'], 'must be the config of a stage'),
        (['configs/_base_/elastic_runtime.py'], 'model.router=None; must be'),
        ([DIGITS, '--budgets', 'fast'], "budget='fast'; must be a share"),
        ([DIGITS, '--processes', '0'], '--processes=0; must be an integer'),
        ([DIGITS, '--budgets', '5ms'], 'a limit in ms needs a latency table'),
        ([DIGITS, '--budgets', '0.5', '9MACs'], 'budget 9MACs: 9 MACs of the'),
        ([DIGITS, '--data', '/no/such'], 'no such folder; must hold'),
    ],
)
def test_wrong_options(
    args: list[Any], words: str, call: Any, tmp_path: Path
) -> None:
    args = [ROOT / a if str(a).startswith('configs') else a for a in args]
    with pytest.raises(SystemExit, match=f'^error: .*{words}'):
        call('adapt.py', *args, '--work-dir', tmp_path / 'work')
    assert not (tmp_path / 'work').exists()


def test_both_stages_are_of_one_network() -> None:
    for path in DIGITS.parent.glob('*_stage2.py'):
        second = Config.fromfile(path)
        first = Config.fromfile(second.stage1)
        assert first.model.backbone.space == second.model.backbone.space
        assert first.model.head == second.model.head


def test_options_reach_the_stage_that_they_are_for() -> None:
    options = [
        'model.router.hidden=3',
        'model.backbone.init_cfg.checkpoint=mine.pth',
        'randomness.seed=7',
    ]
    namespace = runpy.run_path(str(ROOT / 'tools/adapt.py'))
    args = argparse.Namespace(
        config=str(DIGITS), data=None, quick=False, cfg_options=options
    )
    configs = namespace['stage_configs'](args)
    first, second = configs['stage1'], configs['stage2']
    assert 'router' not in first.model
    assert first.model.backbone.init_cfg.checkpoint == 'mine.pth'
    assert second.model.router.hidden == 3
    assert second.model.backbone.init_cfg is None
    assert first.randomness.seed == second.randomness.seed == 7
