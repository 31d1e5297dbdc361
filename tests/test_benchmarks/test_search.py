"""The search benchmark: configs and records."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mmengine.registry import init_default_scope

from benchmarks import accuracy, real, real_race, search
from benchmarks.methods import DEFAULT, METHODS, method_config
from eavit_mm.registry import build_part
from eavit_mm.search.algorithms import SubnetSearch
from eavit_mm.space import SearchSpace
from eavit_mm.space.pareto import Member


@pytest.mark.parametrize('name', search.ALGORITHMS)
def test_every_algorithm_builds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its length is not settled here: that replays every draw.
    short = method_config(METHODS[DEFAULT], search.REGIME, 0)
    monkeypatch.setattr(search, 'supernet_config', lambda: short)
    cfg = search.search_config(name, 3)
    assert cfg.search_cfg.max_evaluations == 400
    assert cfg.search_cfg.seed == 3
    assert ('race' in cfg.search_cfg) == (name == search.RACING)
    init_default_scope(cfg.default_scope)
    build_part('algorithm', cfg.search_cfg.algorithm, SubnetSearch)
    # The supernet is the one of the accuracy benchmark, not another run.
    assert accuracy.config_hash(cfg) == accuracy.config_hash(short)


def test_forwards_are_those_that_the_last_race_tells() -> None:
    text = 'Race: ... 2 of these were evaluated after all: {} of the forwards'
    log = text.format('60.0%') + '\nhypervolume 0.8%\n' + text.format('52.4%')
    assert search.forwards(log) == 52.4
    assert search.forwards('no race: 3.0%') == 100


def test_a_curve_counts_the_images_that_candidates_saw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, 'STEP', 2)
    whole, half = {'4': 1.0, '8': 1.0}, {'4': 1.0}
    largest = SearchSpace([8], [1], [4], 8, 1).largest
    members = [
        Member(largest, {search.METRIC: value}, macs, 1, parts=parts)
        for value, macs, parts in (
            (50.0, 100, whole),
            (90.0, 50, half),  # has left: on no front
            (60.0, 50, whole),
            (70.0, 80, whole),
        )
    ]
    assert search.curve_of(members, 100) == [
        (1.5, 0.0),
        (3.5, pytest.approx(0.6 * 0.5 + 0.1 * 0.2)),
    ]
    # In thirds of the largest's passes.
    forwards = (8 * 100 + 4 * 50 + 8 * 50 + 8 * 80) / 100
    assert real.cost_of(members, 100, 4) == pytest.approx(forwards / 3)
    plain = [replace(member, parts={}) for member in members]
    assert real.cost_of(plain, 100, 400) == pytest.approx(1_120 / 3)
    assert [x for x, _ in search.curve_of(plain, 100)] == [2, 4]


def test_the_page_of_real_races_compares_runs_of_a_set() -> None:
    def found(full: float, raced: float) -> dict[str, dict[str, Any]]:
        curve = [(0, 0), (100, full)]
        race = dict(hypervolume=raced, cost=0.1, forwards=40.0)
        race['curve'] = [(0, 0), (40, raced)]
        return {
            real_race.FULL: dict(
                hypervolume=full, cost=0.3, forwards=100.0, curve=curve
            ),
            real_race.RACING: race,
            real_race.CUTS: dict(race, hypervolume=raced + 0.1),
        }

    records = [
        dict(regime=name, seed=seed, commit='c', found=found(full, raced))
        for name, seed, full, raced in (
            ('eurosat', 0, 0.5, 0.6),
            ('eurosat', 1, 0.7, 0.6),
            ('dtd10', 0, 0.4, 0.3),
        )
    ]
    text = real_race.page(records)
    assert '| eurosat (2) | all images | 0.6000 ± 0.1414 |  | -0.3000' in text
    assert '| eurosat (2) | racing | 0.6000 ± 0.0000 | 0.0000 ± 0.14' in text
    # After half of them it is through, the full one at half of its volume.
    assert '| dtd10 (1) | all images | 0.4000 |  | -0.2000 |  |' in text
    assert '| dtd10 (1) | racing | 0.3000 | -0.1000 | -0.1000 | 0.1400' in text
    assert '| all (3) | racing |' in text
    lines = [line for line in text.splitlines() if line.startswith('| ')]
    assert len({line.count('|') for line in lines}) == 1
    assert '-0.0333' in text
    assert '0.0667' in text  # from SnapViT's cuts
    # At 40 evaluations the full one has two fifths of its volume.
    assert f'{np.mean([0.6 - 0.2, 0.6 - 0.28, 0.3 - 0.16]):.4f}' in text


def test_volume() -> None:
    rows = [
        dict(metrics={search.METRIC: 50.0}, macs=20),
        dict(metrics={search.METRIC: 80.0}, macs=60),
        dict(metrics={search.METRIC: 70.0}, macs=90),
    ]
    # 0.5 from 0.2 on, 0.3 more from 0.6 on.
    assert search.volume(rows, 100) == pytest.approx(0.4 + 0.12)


def test_committed_records_are_of_todays_configs() -> None:
    records = accuracy.read_records(search.RECORDS)
    codes = [
        found['hash']
        for found in accuracy.read_records()
        if (found['method'], found['regime'], found['seed'])
        == (DEFAULT, search.REGIME, search.SUPERNET_SEED)
    ]
    for found in records:
        assert [found['supernet']] == codes
        assert found['config'] == search.ALGORITHMS[found['algorithm']]
        assert found['evaluations'] <= search.EVALUATIONS
