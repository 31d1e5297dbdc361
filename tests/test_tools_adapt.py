"""All stages from one config, on a folder of images."""

import argparse
import fcntl
import json
import re
import runpy
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

from eavit_mm.files import lock
from eavit_mm.space import Budget

ROOT = Path(__file__).resolve().parents[1]
FORKED = ROOT / 'tests' / 'forked_adapt.py'
FAST = 'model.router.fit_steps=20'
DIGITS = ROOT / 'configs/eavit/vitmini_digits_stage2.py'


def adapt(*args: Any, stop: Path | None = None) -> tuple[int, str]:
    """Status and output; stopped by SIGTERM as soon as a path is there."""
    command = [sys.executable, '-W', 'ignore', FORKED, *args]
    with subprocess.Popen(
        [*map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        while stop and not stop.exists() and process.poll() is None:
            time.sleep(0.1)
        if stop:
            process.terminate()
        text, _ = process.communicate()
    return process.returncode, text


def processes_of(folder: Path) -> list[str]:
    """Command lines of running processes that name a folder."""
    texts = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        with suppress(OSError):
            texts.append(path.read_text().replace('\0', ' '))
    return [text for text in texts if f'{folder}/' in text]


def write_digits(folder: Path, number: int) -> None:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        data = DATASETS.build(
            dict(type='eavit_mm.Digits', split='train', pipeline=[])
        )
    for i in range(number):
        place = folder / str(int(data[i]['gt_label']))
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f'{i}.png'), data[i]['img'])


def test_a_folder_of_images_becomes_networks(
    tmp_path: Path, call: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write_digits(tmp_path / 'images', 160)
    (tmp_path / 'images' / 'notes.txt').touch()
    work = tmp_path / 'work'
    args = (DIGITS, '--data', tmp_path / 'images', '--quick')
    args = (*args, '--work-dir', work, '--budgets', '0.5')
    args = (*args, '--processes', 2, '--cfg-options', FAST)
    status, text = adapt(*args, stop=work / 'stage1' / 'last_checkpoint')
    assert status == 128 + signal.SIGTERM, text
    assert text.splitlines()[-1].startswith(
        'stopped by SIGTERM; to go on: python '
    )
    assert not processes_of(work)
    status, text = adapt(*args)
    assert status == 0, text + (work / 'adapt.log').read_text()[-3000:]
    # One line a stage, and a table; not what the tools write.
    lines = text.strip().splitlines()
    assert len(lines) < 30
    assert text.count('files left out') == 1
    stages = ('stage1', 'search', 'stage2', 'test', 'export/0.5')
    for number, stage in enumerate(stages, 1):
        assert re.search(rf'^\[{number}/5\] {stage}: \d+ s$', text, re.M)
    assert 'numbers say nothing' in lines[-7]
    last = lines[-6:]
    assert last[5] == f'All of it in one page: {work}/report.html'
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
    page = work / 'report.html'
    assert '>budgets.json</a>' in page.read_text()
    assert 'A quick trial: a tenth' in page.read_text()
    assert page.read_text().count('<h4>Certificate</h4>') == 1
    goes_on_elsewhere(work, args, call, capsys)


def test_presets_have_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    read = runpy.run_path(str(ROOT / 'tools/adapt.py'))['parse_args']
    three = ['0.25', '0.5', '0.75']
    for words, presets in ((['--presets'], three), ([], None)):
        monkeypatch.setattr(sys, 'argv', ['adapt.py', str(DIGITS), *words])
        assert read().presets == presets


def test_presets_need_stage_1_alone(
    tmp_path: Path, call: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its config, which the one of stage 2 names."""
    write_digits(tmp_path / 'images', 60)
    work, first = tmp_path / 'work', DIGITS.with_name('vitmini_digits.py')
    more = ('--data', tmp_path / 'images', '--quick', '--work-dir', work)
    presets = ('0.25', '60%')
    more += ('--presets', *presets, '25%')  # which is asked for already
    status, text = adapt(first, *more)
    assert status == 0, text + (work / 'adapt.log').read_text()[-3000:]
    for number, stage in enumerate(
        ('stage1', 'test', 'presets/0.25', 'presets/60%'), 1
    ):
        assert re.search(rf'^\[{number}/4\] {stage}: \d+ s$', text, re.M)
    assert 'Pareto' not in text
    assert {path.name for path in work.glob('[!.]*')} == {
        *('stage1', 'stage1.py', 'test', 'presets', 'presets.json'),
        *('presets.png', 'adapt.log', 'stages.json', 'report.html'),
    }
    rows = json.loads((work / 'presets.json').read_text())['subnets']
    assert [(row['by'], row['budget']) for row in rows] == [
        ('uniform', text) for text in presets
    ]
    for row, budget in zip(rows, presets, strict=True):
        assert 0.1 < row['macs_ratio'] <= Budget.parse(budget).value
        subnet = json.loads(
            (work / 'presets' / budget / 'subnet.json').read_text()
        )
        assert subnet == row['subnet']
    results = [*work.rglob('*.pth'), *work.rglob('*.json')]
    times = [path.stat().st_mtime_ns for path in results]
    page = (work / 'report.html').read_bytes()
    assert page.count(b'<h4>Certificate</h4>') == len(presets)
    call('adapt.py', DIGITS, *more)
    assert (work / 'report.html').read_bytes() == page
    assert capsys.readouterr().out.count('done before') == 4
    assert times == [path.stat().st_mtime_ns for path in results]
    (work / 'report.html').unlink()
    (work / 'report.html').mkdir()  # nothing else depends on the page
    call('adapt.py', DIGITS, *more)
    assert '\nWithout a page: ' in capsys.readouterr().out
    # What budgets are of is said by a router's config, though there is none.
    of_part = ('--cfg-options', 'model.router.part=backbone')
    call('adapt.py', DIGITS, *more[:-1], *of_part)
    assert capsys.readouterr().out.count('done before') == 1
    report = json.loads((work / 'presets/0.25/report.json').read_text())
    assert report['source']['part'] == 'backbone'


def goes_on_elsewhere(work: Path, args: Any, call: Any, capsys: Any) -> None:
    """What is done is done, wherever it lies; what is other is refused."""
    folder = work.rename(work.with_name("it's moved"))
    results = [*folder.rglob('*.pth'), *folder.rglob('*.json')]
    times = [path.stat().st_mtime_ns for path in results]
    args = [folder if a == work else a for a in args]
    call('adapt.py', *args)
    text = capsys.readouterr().out
    assert text.count('done before') == 5
    assert f'Pareto front: {folder}/search/pareto.json' in text
    assert times == [path.stat().st_mtime_ns for path in results]
    second = Config.fromfile(folder / 'stage2.py')
    assert Path(second.load_from).parent == folder / 'stage1'
    assert Path(second.model.router.front) == folder / 'search/pareto.json'

    def refuses(words: str, *args: Any) -> None:
        with pytest.raises(SystemExit, match=f'^error: .*{words}'):
            call('adapt.py', *args)

    whole = [a for a in args if a != '--quick']
    words = r'stage1 was made from .*there, .* and \d+ more; give another --wo'
    refuses(words, *whole)
    words = 'stage1 was made from .*seed=0 there, 3 here; give'
    refuses(words, *args, '--cfg-options', 'randomness.seed=3')
    next((work.parent / 'images').rglob('*.png')).unlink()
    refuses('stage1 was made from .*data.train', *args)
    with lock(folder / 'stages.json'):
        refuses(r'stages.json: process \d+ of .* is writing there', *args)
    # Somebody trains in its folder by hand.
    with (folder / 'stage2' / '.last_checkpoint.lock').open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        print('process 7 of here', file=file, end='', flush=True)
        refuses('stage2/last_checkpoint: process 7 of here is writing', *args)


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (['configs/eavit/vitmini_digits.py'], 'must be the config of a stage'),
        (['configs/_base_/elastic_runtime.py'], 'model.router=None; must be'),
        (
            [
                'configs/baselines/flextron_vitti_dtd10_phase2.py',
                *('--presets', '0.5'),
            ],
            'stage1=None, model.router=.*must be the config of a stage',
        ),
        ([DIGITS, '--budgets', 'fast'], "budget='fast'; must be a share"),
        ([DIGITS, '--processes', '0'], '--processes=0; must be an integer'),
        ([DIGITS, '--budgets', '5ms'], 'a limit in ms needs a latency table'),
        ([DIGITS, '--budgets', '0.5', '9MACs'], 'budget 9MACs: 9 MACs of the'),
        ([DIGITS, '--presets', '1%'], 'budget 1%: .* of the total'),
        (
            [
                *(DIGITS, '--presets', '1%', '--cfg-options'),
                'model.router.part=backbone',
            ],
            'budget 1%: .* of the backbone',
        ),
        (
            [
                *(DIGITS, '--presets', '5ms', '--cfg-options'),
                'model.router.latency_table=no.json',
            ],
            'no.json',
        ),
        ([DIGITS, '--data', '/no/such'], 'no such folder; must hold'),
        (  # before a budget is asked for, which needs the space
            [
                *('configs/eavit/vitti_dtd10_stage2.py', '--budgets', '1%'),
                *('--cfg-options', 'model.backbone.init_cfg.checkpoint=a.pth'),
            ],
            r'init_cfg: a.pth is not there\. Put a checkpoint of',
        ),
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
    # Of ViT-B's others: test_configs_vitb.py.
    for path in DIGITS.parent.glob('*_stage2.py'):
        if re.match('vitb_(?!flowers)', path.name):
            continue
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
        config=str(DIGITS),
        data=None,
        quick=False,
        presets=None,
        cfg_options=options,
    )
    configs = namespace['stage_configs'](args)
    first, second = configs['stage1'], configs['stage2']
    assert 'router' not in first.model
    assert first.model.backbone.init_cfg.checkpoint == 'mine.pth'
    assert second.model.router.hidden == 3
    assert second.model.backbone.init_cfg is None
    assert first.randomness.seed == second.randomness.seed == 7


def test_parts_are_built_without_a_run(tmp_path: Path, call: Any) -> None:
    options = ('--check', '--work-dir', tmp_path / 'work', '--cfg-options')
    call('train.py', DIGITS, *options, 'load_from=None')
    first = DIGITS.with_name('vitmini_digits.py')
    with pytest.raises(SystemExit, match=r"\['accuracy/top1'\]; must be one"):
        call('search.py', first, 'no', *options, 'search_cfg.metric=top1')
    names = {path.suffix for path in (tmp_path / 'work').rglob('*.*')}
    assert names == {'.log', '.py'}
