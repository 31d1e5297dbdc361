"""A search killed at any moment and resumed = not killed, to the byte."""

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from seg_leaves import LOVEDA, layout_of, short, write

from .forked_tools import ROOT, free_port
from .searches import DIGITS, EVALUATIONS, FILES, SEARCH, contents, search

FEWER = ('search_cfg.max_evaluations=12',)


def lines(folder: Path) -> int:
    file = folder / FILES[0]
    return file.read_bytes().count(b'\n') if file.exists() else 0


def test_killed_and_resumed_is_uninterrupted(find, searched, tmp_path):
    """By one process and two in turns, which evaluate four each at a time."""
    known = 0
    for kill, processes, written in (
        ('write:1', 1, 1),
        ('write:2', 2, 9),
        ('write:3', 1, 17),
        ('replace:1', 2, 29),
    ):
        resume = ['--resume'] if kill != 'write:1' else []
        done = find(tmp_path, *resume, processes=processes, kill=kill)
        assert done.status == -signal.SIGKILL, done.text
        assert (f'{known} evaluations of ' in done.text) == bool(resume)
        # The first line says what the others depend on.
        assert lines(tmp_path) == written
        assert not (tmp_path / 'pareto.json').exists()
        known = written - 1
    done = find(tmp_path, '--resume')
    assert done.status == 0, done.text
    assert f'{known} evaluations of ' in done.text
    assert contents(tmp_path) == contents(searched)


def test_a_race_killed_and_resumed(find, tmp_path):
    """Begun by one process, ended by two, as one finds it."""
    options = ('search_cfg.race=[0.2,0.6]',)
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    done = find(whole, options=options)
    assert done.status == 0, done.text
    assert 'subnets left early' in done.text
    done = find(killed, options=options, kill='write:4')
    assert done.status == -signal.SIGKILL, done.text
    # In the second generation, after the first ones that could leave.
    assert lines(killed) == 13
    done = find(killed, '--resume', options=options, processes=2)
    assert done.status == 0, done.text
    assert contents(whole) == contents(killed)
    # On how many images a score rests; 150 are all.
    _, *results = (whole / FILES[0]).read_text().splitlines()
    seen = [[*map(int, json.loads(line)['parts'])] for line in results]
    parts = [[30], [30, 90], [30, 90, 150]]
    assert [30, 90, 150] in seen
    assert all(each in parts for each in seen)
    assert seen.count([30, 90, 150]) < EVALUATIONS
    front = json.loads((whole / FILES[1]).read_text())
    for member in (*front['members'], *front['references']):
        share = member['metrics']['accuracy/top1'] * 150 / 100
        assert share == pytest.approx(round(share))
    done = find(whole, '--resume')
    assert "['data', 'race'] differ" in done.last, done.text


def test_a_segmentor_killed_and_resumed(tmp_path):
    """Begun by one process, ended by two, as one finds it."""
    write(tmp_path / 'data', layout_of(LOVEDA)._replace(images=7))
    config = short(LOVEDA, tmp_path, tmp_path / 'data')
    init_default_scope('mmseg')
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(model.state_dict(), weights := tmp_path / 'model.pth')
    find = partial(search, weights, config=config, options=FEWER)
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    done = find(whole)
    assert done.status == 0, done.text
    done = find(killed, kill='write:2')
    assert done.status == -signal.SIGKILL, done.text
    done = find(killed, '--resume', processes=2)
    assert done.status == 0, done.text
    assert contents(whole) == contents(killed)


def test_the_launcher_of_a_checkout(trained, searched, tmp_path):
    """Two processes find what one finds."""
    done = subprocess.run(
        [
            ROOT / 'tools' / 'dist_search.sh',
            DIGITS,
            trained,
            '2',
            '--work-dir',
            tmp_path,
            '--cfg-options',
            *SEARCH,
        ],
        # As in an active environment.
        env={
            **os.environ,
            'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
            'PORT': str(free_port()),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == contents(searched)
    assert done.stdout.count(f'subnets: {tmp_path / "pareto.json"}') == 1


def test_the_launcher_says_what_it_needs():
    done = subprocess.run(
        [ROOT / 'tools' / 'dist_search.sh', DIGITS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert 'CONFIG CHECKPOINT PROCESSES' in done.stderr


def test_a_finished_search_can_be_resumed(find, searched, tmp_path):
    for name in FILES:
        shutil.copy(searched / name, tmp_path)
    done = find(tmp_path, '--resume')
    assert done.status == 0, done.text
    assert contents(tmp_path) == contents(searched)


def test_a_search_goes_on_beyond_its_first_end(find, searched, tmp_path):
    fewer = ('search_cfg.max_evaluations=16',)
    done = find(tmp_path, options=fewer)
    assert done.status == 0, done.text
    assert lines(tmp_path) == 17
    done = find(tmp_path, '--resume')
    assert done.status == 0, done.text
    # 16 is the end of a generation: the same search was cut there.
    assert contents(tmp_path) == contents(searched)


def test_a_broken_file_is_said_and_kept(find, searched, tmp_path):
    path = tmp_path / 'evaluations.jsonl'
    content = (searched / path.name).read_bytes()
    path.write_bytes(before := content[:20])
    done = find(tmp_path, '--resume')
    assert done.status == 1
    assert done.last.startswith(f'error: {path}: line 1 is cut'), done.last
    assert path.read_bytes() == before
    assert not (tmp_path / 'pareto.json').exists()
    # A later line, as a full disk leaves it, is evaluated again.
    path.write_bytes(content[:-20])
    done = find(tmp_path, '--resume')
    assert done.status == 0, done.text
    assert contents(tmp_path) == contents(searched)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            (
                'search_cfg.seed=1',
                'search_cfg.threads=2',
                'val_dataloader.batch_size=50',
                'val_evaluator.thrs=0.5',
            ),
            r"\['batch_size', 'data', 'evaluator', 'seed', 'threads'\] differ;"
            ' batch_size=150 there, 50 here',
        ),
        (
            (
                'model.backbone.space.max_off=1',
                'default_hooks.supernet_meta.check_space=False',
            ),
            'line 3: .*searched for another supernet',
        ),
    ],
)
def test_a_file_of_another_search_is_said_and_kept(
    find, searched, tmp_path, options, message
):
    path = tmp_path / 'evaluations.jsonl'
    shutil.copy(searched / path.name, path)
    done = find(tmp_path, '--resume', options=options)
    assert done.status == 1
    with pytest.raises(ValueError, match=rf'^error: .*{message}'):
        raise ValueError(done.last)
    assert path.read_bytes() == (searched / path.name).read_bytes()


def test_a_used_folder_is_not_searched_anew(find, searched):
    before = contents(searched)
    done = find(searched)
    assert done.status == 1
    path = searched / 'evaluations.jsonl'
    assert done.last.startswith(f'error: {path} is there already: --resume')
    assert contents(searched) == before
