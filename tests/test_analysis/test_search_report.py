"""What a search says before and meanwhile."""

import io
import logging

import pytest
from rich.console import Console
from test_search.toys import SPACES, Search, costs_of, tables_of

from eavit_mm.analysis import search_report
from eavit_mm.analysis.search_report import Progress, profile_table
from eavit_mm.space.cost_table import CostTable

SPACE = SPACES['free']


def test_a_profile_tells_the_costs():
    costs = costs_of(SPACE)
    macs = costs['macs']
    costs['latency'] = lambda subnet: 0.5 + 1e-5 * macs(subnet)
    text = profile_table(SPACE, tables_of(SPACE, costs))
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


def progress_of(search, total, *known):
    """A search that tells of every subnet it measures."""
    logger = logging.getLogger('toy')
    progress = Progress(search.objectives, total, logger, *known)
    search.evaluations.chunk = 1
    search.evaluations.on_chunk = progress.update
    return progress


def test_progress_says_how_far_a_search_is(clock, caplog):
    caplog.set_level(logging.INFO)
    search = Search(SPACE)
    measure = search.measure

    def slow(subnets):
        clock[0] += 2.0
        return measure(subnets)

    search.evaluations.measure = slow
    progress_of(search, 8003)
    search.evaluations(SPACE.uniform_ladder[:2])
    # Four seconds: too early.
    assert lines_of(caplog) == []
    search.evaluations(SPACE.uniform_ladder[2:3])
    (line,) = lines_of(caplog)
    members = list(search.evaluations.known.values())
    # 8000 are left, at two seconds each.
    assert line == (
        'Search [3/8003]  eta: 4:26:40  0.50 evaluations/s  '
        f'front: {len(search.objectives.front(members))}  '
        f'hypervolume: {search.volume(members):.4f}'
    )


def test_what_was_known_before_does_not_make_a_search_fast(clock, caplog):
    caplog.set_level(logging.INFO)
    first = Search(SPACE)
    known = first.evaluations(SPACE.uniform_ladder[:3])
    second = Search(SPACE, known=known)
    progress_of(second, 4, known)
    clock[0] += 10
    second.evaluations(SPACE.uniform_ladder[:4])
    # The end is told at once.
    (line,) = lines_of(caplog)
    assert '[4/4]  eta: 0:00:00  0.10 evaluations/s' in line


def test_a_terminal_gets_a_bar(clock, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    search = Search(SPACE)
    text = io.StringIO()
    console = Console(
        file=text, force_terminal=True, color_system=None, width=120
    )
    monkeypatch.setattr(search_report, 'Console', lambda stderr: console)
    with progress_of(search, 3).bar:
        search.evaluations(SPACE.uniform_ladder[:3])
    assert not lines_of(caplog)
    last = text.getvalue().rsplit('Search', 1)[-1]
    volume = search.volume(list(search.evaluations.known.values()))
    assert '3/3' in last
    assert 'evaluations/s' in last
    assert f'hypervolume: {volume:.4f}' in last
