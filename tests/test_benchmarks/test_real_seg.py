"""The benchmark on real photographs: configs, a run, and its page."""

import json
import operator
from pathlib import Path

import pytest

from benchmarks import real, real_report, real_seg
from benchmarks.accuracy import read_records
from benchmarks.real import DENSE, EA_VIT, STAGE1, STAGE2

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


def test_a_run_is_recorded_once_and_shown(
    tmp_path: Path, made_up: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'records.json'
    task = real.Task(**{**vars(TASK), 'records': path})
    asked = (task, EA_VIT, 'pets', 1, tmp_path)
    assert real.run(*asked) == 'EA-ViT, pets, seed 1: measured'
    assert made_up == ['4000', '1000', 'search', '3000']
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
    assert '| wanted |' not in text
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
