"""What a search says before and meanwhile."""

import io
import logging
import re

import pytest
from rich.console import Console
from test_search.toys import SPACES, Search, costs_of

from eavit_mm.analysis import search_report
from eavit_mm.analysis.search_report import Progress, profile_table
from eavit_mm.search.evaluations import Evaluations
from eavit_mm.space.cost_table import CostTable

SPACE = SPACES['free']


def test_a_profile_tells_the_costs():
    costs = costs_of(SPACE, latency=True)
    text = profile_table(SPACE, costs)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert f'{SPACE.size():.3g} subnets' in text
    subnets = dict(
        smallest=CostTable(SPACE, costs['macs']).cheapest,
        middle=SPACE.uniform(0.5),
        largest=SPACE.largest,
    )
    for name, subnet in subnets.items():
        (line,) = (text for text in lines if name in text)
        for key in ('macs', 'params'):
            value = costs[key](subnet)
            assert (f'{value:,}' if value >= 1000 else f'{value}.0') in line
        assert f'{costs["latency"](subnet):.3f}' in line
    for name in costs:
        assert name in text


@pytest.fixture
def clock(monkeypatch):
    """The time, to be set."""
    now = [100.0]
    monkeypatch.setattr(search_report.time, 'monotonic', lambda: now[0])
    return now


def lines_of(caplog):
    return [record.getMessage() for record in caplog.records]


def test_progress_says_how_far_a_search_is(clock, caplog):
    caplog.set_level(logging.INFO)
    search = Search(SPACE)
    progress = Progress(
        search.objectives, 8003, logging.getLogger('toy'), interval=5.0
    )

    def measure(subnets):
        clock[0] += 2.0
        return search.measure(subnets)

    evaluations = Evaluations(None, {}, measure, 1, progress.update)
    evaluations(SPACE.uniform_ladder[:2])
    # Four seconds: too early.
    assert lines_of(caplog) == []
    evaluations(SPACE.uniform_ladder[2:3])
    (line,) = lines_of(caplog)
    members = list(evaluations.known.values())
    assert '[3/8003]' in line
    assert '0.50 evaluations/s' in line
    # 8000 at two seconds each.
    assert 'eta: 4:26:40' in line
    assert f'front: {len(search.objectives.front(members))} ' in line
    assert f'hypervolume: {search.volume(members):.4f}' in line


def test_progress_says_the_end(clock, caplog):
    caplog.set_level(logging.INFO)
    search = Search(SPACE)
    progress = Progress(search.objectives, 3, logging.getLogger('toy'))
    evaluations = Evaluations(None, {}, search.measure, 1, progress.update)
    evaluations(SPACE.uniform_ladder[:3])
    (line,) = lines_of(caplog)
    assert '[3/3]' in line
    assert 'eta: 0:00:00' in line
    assert re.search(r'[\d.]+ evaluations/s', line)


def test_what_was_known_before_does_not_make_a_search_fast(
    clock, caplog, tmp_path
):
    caplog.set_level(logging.INFO)
    path = tmp_path / 'evaluations.jsonl'
    first = Search(SPACE, path=path)
    first.evaluations.start()
    first.evaluations(SPACE.uniform_ladder[:3])
    second = Search(SPACE, path=path)
    second.evaluations.resume(SPACE)
    progress = Progress(second.objectives, 4, logging.getLogger('toy'))
    second.evaluations.on_chunk = progress.update
    clock[0] += 10
    second.evaluations(SPACE.uniform_ladder[:4])
    (line,) = lines_of(caplog)
    assert '[4/4]  eta: 0:00:00  0.10 evaluations/s' in line


def test_a_terminal_gets_a_bar(clock, caplog):
    caplog.set_level(logging.INFO)
    search = Search(SPACE)
    text = io.StringIO()
    console = Console(
        file=text, force_terminal=True, color_system=None, width=120
    )
    progress = Progress(
        search.objectives, 3, logging.getLogger('toy'), console=console
    )
    evaluations = Evaluations(None, {}, search.measure, 1, progress.update)
    with progress.bar:
        evaluations(SPACE.uniform_ladder[:3])
    assert not lines_of(caplog)
    last = text.getvalue().rsplit('Search', 1)[-1]
    volume = search.volume(list(evaluations.known.values()))
    assert '3/3' in last
    assert 'evaluations/s' in last
    assert f'hypervolume: {volume:.4f}' in last
