"""The search benchmark: configs, records and the page."""

from pathlib import Path
from typing import Any

import pytest
from mmengine.registry import init_default_scope

from benchmarks import accuracy, search
from benchmarks.methods import DEFAULT, METHODS, method_config
from eavit_mm.registry import build_part
from eavit_mm.search.algorithms import SubnetSearch


def row(algorithm: str, seed: int, volume: float, **kw: Any) -> dict[str, Any]:
    values = dict(
        algorithm=algorithm,
        seed=seed,
        commit='abc',
        hypervolume=volume,
        test_hypervolume=volume - 0.01,
        gap=0.25,
        members=30 + seed,
        bins=20 - seed,
        curve=[(10, volume - 0.1), (20, volume)],
    )
    return {**values, **kw}


RECORDS = [
    row(search.PARTITION, 0, 0.8),
    row(search.PARTITION, 1, 0.82),
    row(search.RANDOM, 0, 0.7, gap=0.125),
]


@pytest.mark.parametrize('name', search.ALGORITHMS)
def test_every_algorithm_builds(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its length is not settled here: that replays every draw.
    short = method_config(METHODS[DEFAULT], search.REGIME, 0)
    monkeypatch.setattr(search, 'supernet_config', lambda: short)
    cfg = search.search_config(search.ALGORITHMS[name], 3)
    assert cfg.search_cfg.max_evaluations == 400
    assert cfg.search_cfg.seed == 3
    init_default_scope(cfg.default_scope)
    build_part('algorithm', cfg.search_cfg.algorithm, SubnetSearch)
    # The supernet is the one of the accuracy benchmark, not another run.
    assert accuracy.config_hash(cfg) == accuracy.config_hash(short)


def test_volume() -> None:
    rows = [
        dict(metrics={search.METRIC: 50.0}, macs=20),
        dict(metrics={search.METRIC: 80.0}, macs=60),
        dict(metrics={search.METRIC: 70.0}, macs=90),
    ]
    # 0.5 from 0.2 on, 0.3 more from 0.6 on.
    assert search.volume(rows, 100) == pytest.approx(0.4 + 0.12)


def test_the_page(tmp_path: Path) -> None:
    curves = search.mean_curves(RECORDS)
    assert list(curves) == [search.PARTITION, search.RANDOM]
    (first, low), (second, high) = curves[search.PARTITION]
    assert (first, second) == (10, 20)
    assert (low, high) == pytest.approx((0.71, 0.81))
    text = search.write_report(RECORDS, tmp_path).read_text()
    assert '| partition (2) | 0.8100 ± 0.0141 | 0.8000 ± 0.0141 |' in text
    assert '| 0.2500 ± 0.0000 | 30.5 ± 0.7 | 19 |' in text
    assert '| random (1) | 0.7000 ± 0.0000 |' in text
    assert 'Commit abc.' in text
    figure = tmp_path / 'search_hypervolume.png'
    assert figure.stat().st_size > 10_000


def test_committed_records_are_of_todays_configs(tmp_path: Path) -> None:
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
    if records:
        path = search.write_report(records, tmp_path)
        committed = search.RECORDS.with_name('search.md')
        assert path.read_text() == committed.read_text()
