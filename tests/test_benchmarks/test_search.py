"""The search benchmark: configs and records."""

import pytest
from mmengine.registry import init_default_scope

from benchmarks import accuracy, search
from benchmarks.methods import DEFAULT, METHODS, method_config
from eavit_mm.registry import build_part
from eavit_mm.search.algorithms import SubnetSearch


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
