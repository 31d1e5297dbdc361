"""The GPU bench, as far as it can be tried without one."""

import os
import subprocess
import sys
import time
from argparse import Namespace
from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import __main__ as bench
from benchmarks.gpu import exported, loading, steps
from benchmarks.gpu import page as page_module
from benchmarks.gpu import tests as gpu_tests
from benchmarks.gpu.page import NOTHING, SECTIONS, page, peak_of
from benchmarks.gpu.parts import PARTS
from benchmarks.gpu.record import DONE, FAILED, LATE, RUNNING, Record
from benchmarks.gpu.run import Run
from benchmarks.pages import ROOT
from benchmarks.speed_cases import Case, Setting
from eavit_mm.files import process_name
from eavit_mm.models.elastic_classifier import ElasticImageClassifier

from .made_up_parts import MODULE, part

HEAD = dict(device='cpu', quick=True, commit='c', name='a card', torch='2')


@pytest.fixture(autouse=True)
def found_by_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the bench import parts that are made up here."""
    paths = [str(ROOT), str(ROOT / 'tests'), os.environ['PYTHONPATH']]
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(paths))


def test_parts_end_in_their_own_way_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [part('wrong'), part('hanging', seconds=2), part('dying')]
    parts += [part('silent'), part('good')]
    record = Record(tmp_path)
    record.note(**HEAD)
    monkeypatch.setattr(page_module, 'PARTS', parts)
    sections = {p.name: lambda rows, card: f'{rows}' for p in parts}
    monkeypatch.setattr(page_module, 'SECTIONS', sections)
    record.update('good', state=DONE, rows=['kept'], error='')
    record.update('silent', state=LATE, rows=['from before'], error='')
    assert not bench.run_parts(parts, record, 500, 'cpu', quick=True)
    found = record.read()['parts']
    states = {name: value['state'] for name, value in found.items()}
    ends = dict(wrong=FAILED, hanging=LATE, dying=DONE, silent=FAILED)
    assert states == dict(ends, good=DONE)
    assert found['silent']['rows'] == ['from before']
    assert found['wrong']['error'] == 'ValueError: a device fell off'
    assert found['wrong']['rows'] == [dict(value=2)]
    # In a new process each time.
    assert len({row['value'] for row in found['dying']['rows']}) == 2
    assert found['good']['rows'] == ['kept']
    text = (tmp_path / 'gpu.md').read_text()
    assert 'This part is out of time. stopped after 6 s' in text
    # Without time nothing is begun; a part that cannot go on has failed.
    assert not bench.run_parts([part('hanging')], record, 0, 'cpu', True)
    assert record.read()['parts'] == found
    stops = replace(part('dying'), resumes=False)
    assert not bench.run_parts([stops], record, 60, 'cpu', True, again=True)
    assert record.part('dying')['error'] == 'its process ended with -11'


def test_a_limit_of_seconds_begins_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(
        bench, 'run_part', lambda part, *args: begun.append(part.name)
    )
    record = Record(tmp_path)
    record.note(**HEAD)
    bench.run_parts([part('good')], record, 5, 'cpu', quick=True)
    assert begun == ['good']


def wait_for(ready: Any) -> None:
    end = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_part_that_has_hardly_begun_ends_with_the_bench(
    tmp_path: Path,
) -> None:
    record = Record(tmp_path)
    record.note(**HEAD)
    command = [sys.executable, '-m', MODULE, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT)
    path = Path(f'/proc/{process.pid}/task/{process.pid}/children')
    wait_for(lambda: record.part('hanging') and path.read_text())
    pid = int(path.read_text())
    process.kill()
    process.wait()
    wait_for(lambda: not process_name(pid))
    assert not record.part('hanging')['rows']  # It was at its imports.


def test_a_killed_bench_keeps_what_it_had_and_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    record = Record(tmp_path)
    record.note(**HEAD)
    command = [sys.executable, '-m', MODULE, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT)
    wait_for(lambda: record.part('hanging').get('rows'))
    process.kill()
    process.wait()
    found = record.part('hanging')
    assert found['state'] == RUNNING
    pid = found['rows'][0]['value']
    wait_for(lambda: not process_name(pid))


@pytest.mark.parametrize('name', [p.name for p in PARTS if p.name != 'tests'])
def test_every_part_ends_with_numbers(name: str) -> None:
    (target,) = (p.run for p in PARTS if p.name == name)
    module, _, function = target.partition(':')
    saved: list[Any] = []
    run = Run('cpu', True, save=saved.append)
    getattr(import_module(module), function)(run)
    assert run.rows
    assert saved[-1] == run.rows
    parts = {name: dict(state=DONE, error='', rows=run.rows)}
    text = page([dict(HEAD, parts=parts)])
    assert SECTIONS[name](run.rows, '') in text
    assert 'The quick form, which tells nothing of speed' in text


def test_a_loader_that_fails_does_not_stop_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, trained = loading.make_loader, []

    def failing(cfg: Any, folder: str, workers: int, *rest: Any) -> Any:
        if workers == 1:
            raise RuntimeError('no space left on device')
        return make(cfg, folder, workers, *rest)

    def train_step(model: Any, *args: Any) -> Any:
        log = step(model, *args)
        trained.append(log['macs_ratio'].item())
        return log

    step = ElasticImageClassifier.train_step
    monkeypatch.setattr(ElasticImageClassifier, 'train_step', train_step)
    monkeypatch.setattr(loading, 'make_loader', failing)
    run = Run('cpu', True)
    with pytest.raises(RuntimeError, match='1 workers: no space left'):
        loading.loading(run)
    assert [row['workers'] for row in run.rows] == [2]
    # What is compared are steps of one network.
    assert set(trained) == {1.0}


def test_the_tests_for_a_gpu_hold_on_a_cpu() -> None:
    # The same as that of one process, which the CPU runs over gloo too.
    name = 'test_gradients_are_the_mean_over_ranks[gloo, two on one device]'
    twin = f'tests/test_gpu/test_processes.py::{name}'
    run = Run('cpu', True, [dict(test=twin, outcome='passed')])
    gpu_tests.run_tests(run)
    found = Counter(row['outcome'] for row in run.rows)
    # The CPU trains in no float16.
    assert found.pop('passed') > 50
    assert found == dict(skipped=1)


MADE_UP = """
import pytest

pytestmark = pytest.mark.gpu

def test_dies(): raise SystemError('the process would have ended')
def test_fails(): raise ValueError('two\\nlines')
def test_measures(record_property): record_property('difference', 0.5)
def test_is_left_out(): pytest.skip('no such card')
"""


HANGING = """
import pytest

@pytest.mark.gpu
def test_may_hang(): pass
"""


def test_how_tests_end_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'test_made_up.py').write_text(MADE_UP)
    (tmp_path / 'test_lacks.py').write_text('import a_missing_package')
    # Alone in its file, which comes before the other by its name.
    (tmp_path / 'test_a_test_processes.py').write_text(HANGING)
    option = "def pytest_addoption(parser): parser.addoption('--device')"
    (tmp_path / 'conftest.py').write_text(option)
    (tmp_path / 'pytest.ini').write_text('[pytest]\nmarkers = gpu: x')
    monkeypatch.setattr(gpu_tests, 'FOLDER', tmp_path)
    first = dict(test='test_made_up.py::test_dies', outcome=RUNNING)
    lacked = dict(test='test_lacks.py', outcome=gpu_tests.NOT_COLLECTED)
    run = Run('cpu', True, [lacked, first])
    monkeypatch.chdir(tmp_path)
    counts = '1 died, 1 not collected, 1 failed, 2 passed, 1 skipped'
    with pytest.raises(RuntimeError, match=counts):
        gpu_tests.run_tests(run)
    ends = [row['outcome'] for row in run.rows]
    wanted = ['died', 'not collected', 'failed', 'passed', 'skipped', 'passed']
    assert ends == wanted
    text = SECTIONS['tests'](run.rows, 'a card')
    assert text.startswith(f'{counts}.')
    lacks = "No module named 'a_missing_package'"
    assert '- `test_lacks.py`: not collected, ModuleNotFoundError: ' in text
    assert lacks in text
    assert '- `test_fails`: failed, ValueError: two' in text
    assert '- `test_measures`: passed, difference 0.5' in text


def test_networks_are_compiled_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved: list[Any] = []
    exported.compiled(Run('cpu', True, save=saved.append))
    # Each in two rounds.
    assert [len(rows) for rows in saved[::2]] == [1, 2, 3, 4]
    assert len({row['case'] for row in saved[-1]}) == 4
    references = {row['case']: row.get('over') for row in saved[-1]}
    assert list(map(bool, references.values())) == [False, True, True, True]
    monkeypatch.setenv('PATH', '')
    monkeypatch.setenv('CC', 'none')
    with pytest.raises(RuntimeError, match='needs a C compiler'):
        exported.compiled(Run('cpu', False))


def test_every_part_has_a_section_of_the_page() -> None:
    assert list(SECTIONS) == [p.name for p in PARTS]


def test_a_batch_that_does_not_fit_is_halved(tiny: Setting) -> None:
    def make(setting: Setting) -> list[Case]:
        if setting.batch_size > 2:
            raise torch.OutOfMemoryError
        return [Case('any', 1.0, 'any', dict(step=lambda: None))]

    setting, cases = steps.fitting(replace(tiny, batch_size=16), [make])
    assert (setting.batch_size, len(cases)) == (2, 1)


def test_model_flops_and_goals() -> None:
    row = dict(
        case='largest',
        over='stock',
        ratio=[1.0, 1.01, 1.02],
        macs_ratio=1.0,
        macs=10**9,
        images_per_s=80000.0,
        milliseconds=3.2,
        batch_size=256,
        rounds=5,
    )
    slow = dict(row, case='uniform 25%', over='largest', macs_ratio=0.25)
    parts = {'stage 1': dict(state=DONE, error='', rows=[row, slow])}
    head = dict(HEAD, name='NVIDIA H100 80GB HBM3', parts=parts)
    for trial in (dict(device='cpu', quick=False), dict(device='cuda')):
        text = page([{**head, **trial}])
        assert '| MFU' not in text
        assert '| goal' not in text
    text = page([dict(head, device='cuda', quick=False)])
    # 6 x 1e9 x 80000 / 989e12
    assert '48.5%' in text
    assert '≤ 1.02: met, MFU ≥ 45%: met' in text
    assert '≤ 0.3: **missed**' in text
    assert peak_of('NVIDIA H100 PCIe') == 756e12
    for other in ('AMD EPYC', 'H100 NVL', 'H200 NVL', 'H100 MIG 1g.10gb'):
        assert peak_of(other) is None
    assert NOTHING in page([])


def test_another_run_is_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Record(tmp_path)
    args = Namespace(**HEAD, out=tmp_path, again=False)
    bench.check_same_run(record, args)
    bench.check_same_run(record, args)
    with monkeypatch.context() as patch:
        patch.setattr(bench, 'device_name', lambda device: 'another')
        with pytest.raises(SystemExit, match="name .*, not 'another'"):
            bench.check_same_run(record, args)
        patch.setattr(bench, 'commit', str)  # no git here
        args.commit = None
        with pytest.raises(SystemExit, match='not .unknown, files [0-9a-f]+'):
            bench.check_same_run(record, args)
    args.commit = 'd'
    with pytest.raises(SystemExit, match="measured with commit 'c', not 'd'"):
        bench.check_same_run(record, args)
    args.again = True
    bench.check_same_run(record, args)
    assert record.read()['commit'] == 'd'


def test_only_what_a_gpu_measured_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = tmp_path / 'docs'
    monkeypatch.setattr(bench, 'FOLDER', docs)
    record = Record(tmp_path)
    record.note(**HEAD)
    with pytest.raises(SystemExit, match='not measured on a GPU'):
        bench.publish_run(tmp_path)
    record.note(device='cuda', quick=False)
    record.update('tests', state=DONE, rows=[], error='')
    bench.publish_run(tmp_path)
    assert (docs / 'gpu_a_card.json').read_bytes() == record.path.read_bytes()
    assert '## a card' in (docs / 'gpu.md').read_text()
