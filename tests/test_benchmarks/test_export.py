"""The export benchmark: its cases, and that it goes on where it was."""

import json
import sys

import pytest

from benchmarks import export
from benchmarks.export_cases import random_config, random_model, random_subnet


def test_subnets_have_extremes():
    for seed in range(20):
        space = random_model(random_config(seed), seed).backbone.space
        subnet = random_subnet(space, seed)
        space.check(subnet)
        if seed % 10 == 0:
            assert subnet == space.largest
        if seed % 10 == 1:
            assert subnet == space.smallest
        if seed % 10 == 2:
            assert subnet.num_off == 2 * subnet.num_layers


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(export, 'commit', lambda: 'abc')

    def ran(num: int) -> dict:
        args = ['--num', num, '--format', 'pth', '--out', tmp_path / 'x.json']
        monkeypatch.setattr(sys, 'argv', ['export', *map(str, args)])
        export.main()
        return json.loads((tmp_path / 'x.json').read_text())

    return ran


def test_it_goes_on_where_it_was(run, monkeypatch):
    first = run(2)
    assert [row['seed'] for row in first['rows']] == [0, 1]
    case, seeds = export.run_case, []

    def counted(seed, formats):
        seeds.append(seed)
        return case(seed, formats)

    monkeypatch.setattr(export, 'run_case', counted)
    second = run(4)
    assert seeds == [2, 3]
    assert second['rows'][:2] == first['rows']
    monkeypatch.setattr(export, 'commit', lambda: 'new')
    run(1)
    assert seeds == [2, 3, 0]
