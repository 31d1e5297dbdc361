"""Pages are of the records beside them; a record names its commit."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import (
    accuracy,
    budgets,
    export,
    finetune,
    latency,
    memory,
    pages,
    real_112,
    real_ablations,
    real_cls,
    real_cost,
    real_race,
    real_seg,
    search,
    snap,
    snap_report,
    snap_speed,
    speed,
    stage2,
)
from benchmarks.gpu import page as gpu
from benchmarks.methods import DEFAULT, METHODS, method_config
from benchmarks.misuse import __main__ as misuse
from benchmarks.real_report import write_page
from benchmarks.report import write_report

# A page whose figure is written with it.
WITH_FIGURE: dict[str, Callable[[Path], Path]] = dict(
    accuracy=lambda folder: write_report(
        accuracy.read_records(), folder, accuracy.INTRO
    ),
    real_112=lambda folder: write_page(
        real_112.PAGE, accuracy.read_records(real_112.TASK.records), folder
    ),
    real_ablations=real_ablations.write_report,
    real_cls=lambda folder: write_page(
        real_cls.PAGE, accuracy.read_records(real_cls.TASK.records), folder
    ),
    real_cost=real_cost.write_report,
    real_race=lambda folder: real_race.write_report(
        accuracy.read_records(real_race.RECORDS), folder
    ),
    real_seg=lambda folder: write_page(
        real_seg.PAGE, accuracy.read_records(real_seg.TASK.records), folder
    ),
    search=lambda folder: search.write_report(
        accuracy.read_records(search.RECORDS), folder
    ),
    snap=lambda folder: snap_report.write_page(
        accuracy.read_records(snap.RECORDS), folder
    ),
    stage2=lambda folder: stage2.write_report(
        accuracy.read_records(stage2.RECORDS), folder
    ),
)
ALONE = dict(
    budgets=budgets,
    export=export,
    finetune=finetune,
    memory=memory,
    misuse=misuse,
    snap_speed=snap_speed,
)
OF_DEVICES = dict(gpu=gpu, latency=latency, speed=speed)


@pytest.mark.parametrize('name', [*WITH_FIGURE, *ALONE, *OF_DEVICES])
def test_a_committed_page_is_of_the_committed_records(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its space counts alone: to settle its length replays every draw.
    short = method_config(METHODS[DEFAULT], search.REGIME, 0)
    monkeypatch.setattr(search, 'supernet_config', lambda: short)
    if name in WITH_FIGURE:
        text = WITH_FIGURE[name](tmp_path).read_text()
        assert list(tmp_path.glob('*.png'))
    elif name in ALONE:
        module = ALONE[name]
        text = module.page(json.loads(module.RECORDS.read_text()))
    else:
        records = pages.measurements(pages.FOLDER, name)
        text = OF_DEVICES[name].page(records)
    committed = pages.FOLDER / f'{name}.md'
    assert text.rstrip() == committed.read_text().rstrip()


def git(folder: Path, *args: str) -> str:
    who = ['-c', 'user.name=a', '-c', 'user.email=a@b.c']
    return subprocess.check_output(
        ['git', *who, *args], cwd=folder, text=True
    ).strip()


def test_only_code_makes_a_commit_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, 'ROOT', tmp_path)
    assert pages.commit() == ''
    code, results = tmp_path / 'code.py', tmp_path / 'docs/benchmark/a.json'
    results.parent.mkdir(parents=True)
    for path in (code, results):
        path.write_text('1')
    git(tmp_path, 'init', '-q')
    git(tmp_path, 'add', '.')
    git(tmp_path, 'commit', '-qm', 'first')
    name = git(tmp_path, 'rev-parse', '--short=10', 'HEAD')
    assert pages.commit() == name
    results.write_text('2')
    (tmp_path / 'new.log').write_text('')
    assert pages.commit() == name
    code.write_text('2')
    assert pages.commit() == f'{name}-dirty'
