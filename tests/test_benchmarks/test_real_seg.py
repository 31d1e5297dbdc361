"""The benchmark on real photographs: configs, a run, and its page."""

import json
import operator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import real, real_report, real_seg
from benchmarks.accuracy import read_records
from benchmarks.real import DENSE, EA_VIT, STAGE1, STAGE2
from eavit_mm.models import BudgetSolver

TASK = real_seg.TASK
WHOLE = 367_902_720  # MACs of the backbone


@pytest.mark.parametrize('name', TASK.sets)
def test_the_dense_network_trains_as_long_as_both_stages(name: str) -> None:
    configs = real.configs_of(TASK, EA_VIT, name, 3)
    length = {k: cfg.train_cfg.max_iters for k, cfg in configs.items()}
    assert length[DENSE] == length[STAGE1] + length[STAGE2]
    dense, first = configs[DENSE], configs[STAGE1]
    assert dense.param_scheduler[-1].end == length[DENSE]
    assert dense.model.sampler.type == 'eavit_mm.LargestSampler'
    # Sorted alike: slices of it are of its most important units.
    assert dense.custom_hooks == first.custom_hooks[:1]
    assert dense.train_dataloader == first.train_dataloader
    assert {cfg.randomness.seed for cfg in configs.values()} == {3}
    assert configs[STAGE2].model.router


@pytest.mark.parametrize('name', TASK.sets)
def test_no_stage_sees_a_test_image(name: str) -> None:
    for cfg in real.configs_of(TASK, EA_VIT, name, 0).values():
        test = cfg.test_dataloader.dataset
        folders = test.data_prefix.values()
        assert all(folder.endswith('/test') for folder in folders)
        for key in ('train_dataloader', 'val_dataloader'):
            assert '/test' not in repr(cfg[key])
        train, search = (
            cfg[f'{key}_dataloader'].dataset for key in ('train', 'val')
        )
        assert search.part == 'search'
        if train.type == 'eavit_mm.Split':
            assert train.part == 'train'
            assert train.parts == search.parts
            train = train.dataset
            assert train == search.dataset
        else:
            assert train.data_prefix != search.dataset.data_prefix


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs train nothing; a network's mIoU follows from its curve and MACs."""
    done: list[str] = []

    def train(cfg: Any, folder: Path, **_: Any) -> tuple[Path, str]:
        done.append(str(cfg.train_cfg.max_iters))
        assert str(real.DATA) in cfg.test_dataloader.dataset.data_root
        work_dir = tmp_path / str(len(done))
        work_dir.mkdir(exist_ok=True)
        return work_dir, f'{len(done)}.pth'

    def evaluate(cfg: Any, *args: Any) -> dict[str, tuple[int, float]]:
        split, checkpoint, _, metric = args
        assert (split, metric) == ('test', 'mIoU')
        lost = 30.0 if checkpoint == '1.pth' else 10.0
        better = dict(router=2.0, front=1.0, uniform=0.0)
        found = {}
        for name in cfg.test_cfg.subnets:
            source, budget = name.split()
            value = 70 - lost * (1 - float(budget)) + better[source]
            found[name] = (0, value)
        return found

    class Solver(BudgetSolver):
        """Uniform networks answer for a router that no training made."""

        def __init__(self, model: Any, part: str, front: Any) -> None:
            super().__init__(model, part=part)

        def check_source(self, by: str | None) -> None:
            assert by in ('router', 'front', 'uniform')

        def _sources(self) -> dict[str, Any]:
            return dict.fromkeys(('router', 'front', 'uniform'), self._uniform)

    monkeypatch.setattr(real, 'train', train)
    monkeypatch.setattr(real, 'evaluate', evaluate)
    monkeypatch.setattr(real, 'BudgetSolver', Solver)
    monkeypatch.setattr(real, 'load_supernet', lambda *args: None)
    monkeypatch.setattr(real, 'search', lambda *args: done.append('search'))
    monkeypatch.setattr(real, 'stock_metric', lambda *args: 67.0)
    return done


def test_a_run_is_recorded_once_and_shown(
    tmp_path: Path, made_up: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'records.json'
    task = real.Task(**{**vars(TASK), 'records': path})
    asked = (task, EA_VIT, 'pets', 1, tmp_path)
    assert real.run(*asked) == 'EA-ViT, pets, seed 1: measured'
    assert made_up == ['2000', '1000', 'search', '1000']
    assert real.run(*asked) == 'EA-ViT, pets, seed 1: known'
    (record,) = json.loads(path.read_text())
    run = {EA_VIT: record}
    assert real_report.at(run, real_seg.SLICES, 0.5) == 55
    for curve in real_seg.CURVES.values():
        found = real_report.answers(run, curve)
        budgets, macs, _ = zip(*found, strict=True)
        assert budgets == TASK.budgets
        assert macs[-1] == WHOLE
        shares = [used / WHOLE for used in macs]
        assert all(map(operator.le, shares, budgets))
    begun = {**record, 'exported': None, 'answers': {**record['answers']}}
    del begun['answers'][STAGE2]
    page = real_seg.PAGE
    text = real_report.write_page(page, [begun], tmp_path).read_text()
    assert '| uniform, stage 1 (1) |' in text
    assert 'wanted' not in text
    text = real_report.write_page(page, [record], tmp_path).read_text()
    assert (tmp_path / 'real_seg_pets.png').exists()
    # 67 of 70 at half of the MACs.
    assert '| ≥ 95 | 95.71 | 95.71 |' in text
    assert '| > 0 | 2.00 | 2.00 |' in text


def test_committed_records_are_of_todays_configs() -> None:
    for found in read_records(TASK.records):
        asked = (found['method'], found['regime'], found['seed'])
        configs = real.configs_of(TASK, *asked)
        assert real.hash_of(TASK, configs) == found['hash']
