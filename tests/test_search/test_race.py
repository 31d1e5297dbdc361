"""Who races sees few images; what is chosen has seen all of them."""

import re
from functools import cached_property
from itertools import pairwise

import numpy as np
import pytest
from test_space.strategies import costs_of

from eavit_mm.analysis import search_report
from eavit_mm.analysis.search_report import write_figures
from eavit_mm.search.algorithms import SubnetNSGA2, run_search
from eavit_mm.search.evaluations import Evaluations
from eavit_mm.search.front import best_members, build_front
from eavit_mm.search.objectives import Objectives
from eavit_mm.search.problem import SubnetProblem
from eavit_mm.search.race import FIRST, Race, ends_of
from eavit_mm.space.pareto import Member, standard_error

from .toys import SPACES, saturating, tables_of

SPACE = SPACES['free']
IMAGES, BINS = 400, 40
TOP1 = 'accuracy/top1'
LATER = 'accuracy/top5'


class Raced:
    """A search whose candidates race; notes how many images it looked at.

    A subnet knows an image that is easier for it than it is good; the first
    images of all are the hardest.

    Args:
        race: Shares of the images.
        chunk: Subnets that are evaluated at a time.
        known: What was evaluated earlier.
    """

    def __init__(self, race=(0.125, 0.25, 0.5), chunk=8, known=()):
        self.costs, self.good = costs_of(SPACE), saturating(SPACE)
        self.objectives = Objectives(
            SPACE, tables_of(SPACE, self.costs), ('metric', 'macs'), TOP1
        )
        self.looked, self.written = 0, []
        self.evaluations = Evaluations(
            None, known, chunk, self.written.extend, FIRST
        )
        self.ends = ends_of(race, IMAGES)
        self.race = self.evaluations.measure = Race(
            self.measure, self.objectives, self.ends, self.evaluations.used
        )

    @cached_property
    def hard(self):
        hard = np.random.default_rng(0).uniform(0, 110, IMAGES)
        hard[:50] += 5
        return hard

    def knows(self, subnet, begin=0, end=IMAGES):
        """Whether a subnet is right, for each image of a range."""
        code = SPACE.encode(subnet)
        luck = np.random.default_rng(code).normal(0, 5, IMAGES)
        right = self.good(subnet) + luck > self.hard
        return right[begin:end]

    def measure(self, subnets, begin, end):
        self.looked += len(subnets) * (end - begin)
        found = []
        for subnet in subnets:
            share = 100 * self.knows(subnet, begin, end).mean()
            metrics = {TOP1: float(share), LATER: float(share) / 2}
            costs = {name: cost(subnet) for name, cost in self.costs.items()}
            found.append(Member(subnet, metrics, **costs))
        return found

    def run(self, number=120):
        problem = SubnetProblem(self.objectives, self.evaluations)
        algorithm = SubnetNSGA2(pop_size=20)
        return run_search(problem, algorithm, self.evaluations, 0, number)


def rivals_of(place):
    """How many before a member may be its rivals."""
    return place // 20 * 20 or (FIRST if place >= FIRST else 0)


def error_of(value, end):
    """Of a share of some of the images, as an estimate of that of all."""
    rest = (IMAGES - end) / IMAGES
    return standard_error(TOP1, value, end) * rest**0.5


@pytest.fixture(scope='module')
def raced():
    search = Raced()
    members = search.run()
    return search, members, search.looked


def test_fewer_images_are_looked_at(raced):
    search, members, looked = raced
    ends = [max(map(int, member.parts)) for member in members]
    assert set(ends) == set(search.ends)
    assert sum(ends) == looked < 0.85 * IMAGES * len(members)
    # Nobody leaves before there are rivals.
    assert set(ends[:FIRST]) == {IMAGES}


def test_accuracies_are_those_on_the_first_images(raced):
    search, members, _ = raced
    for member in members:
        right = search.knows(member.subnet)
        for end, value in member.parts.items():
            assert value == 100 * int(right[: int(end)].sum()) / int(end)
        if search.race.saw_all(member):
            assert member.metrics[TOP1] == member.parts[str(IMAGES)]


def test_who_left_was_behind_a_rival_of_an_earlier_generation(raced):
    """By more than its standard error, on the images that it saw."""
    search, members, _ = raced
    for place, member in enumerate(members):
        if search.race.saw_all(member):
            continue
        end, value = list(member.parts.items())[-1]
        earlier = filter(search.race.saw_all, members[: rivals_of(place)])
        rivals = [
            other
            for other in search.objectives.front(list(earlier))
            if other.macs <= member.macs
        ]
        best = max(rivals, key=lambda other: other.parts[end])
        behind = best.parts[end] - value
        assert behind > error_of(value, int(end))
        # On all images it counts as just as far behind.
        counted = max(best.metrics[TOP1] - behind, 0)
        assert member.metrics == {TOP1: counted}


def test_who_stayed_was_not_behind(raced):
    """At the end of each part but the last."""
    search, members, _ = raced
    for place, member in enumerate(members):
        earlier = members[: rivals_of(place)]
        rivals = search.objectives.front(
            [*filter(search.race.saw_all, earlier)]
        )
        for end, _ in pairwise(member.parts):
            value = member.parts[end]
            best = max(
                (r.parts[end] for r in rivals if r.macs <= member.macs),
                default=0.0,
            )
            assert best - value <= error_of(value, int(end))


def test_what_is_chosen_has_seen_all_images(raced):
    search, members, _ = raced
    settled, text = search.race.settle(members, BINS)
    chosen = best_members(search.objectives, settled, BINS)
    for member in (*chosen[0], *chosen[1]):
        right = search.knows(member.subnet)
        assert member.metrics[TOP1] == 100 * int(right.sum()) / IMAGES
        assert LATER in member.metrics
        assert not member.parts
    # Some of the best had left, and were evaluated after all.
    left = {m.subnet for m in members if not search.race.saw_all(m)}
    before = best_members(search.objectives, members, BINS)
    again = int(re.search(r'(\d+) of these were', text)[1])
    assert again >= len(left & {member.subnet for member in before[1]}) > 0
    share = search.looked / IMAGES / len(members)
    assert f'{len(left)} of 120 subnets left early' in text
    assert text.endswith(f': {share:.1%} of the forwards')
    # No front has one that left.
    assert not left & {member.subnet for member in before[0]}


def test_figures_show_what_was_measured(raced, monkeypatch, tmp_path):
    search, members, _ = raced
    settled, _ = search.race.settle(members, BINS)
    front, drawn = build_front(search.objectives, settled, BINS), []
    monkeypatch.setattr(
        search_report, 'plot_front', lambda *args: drawn.append(args[1:3])
    )
    write_figures(front, search.objectives, settled, tmp_path)
    ((shown, uniform),) = drawn
    assert all(member in shown for member in uniform)
    before = {m.subnet for m in members if search.race.saw_all(m)}
    assert before < {member.subnet for member in shown}
    assert len(shown) < len(members)
    for member in shown:
        right = search.knows(member.subnet)
        assert member.metrics[TOP1] == 100 * int(right.sum()) / IMAGES


def test_the_front_is_nearly_that_of_all_images(raced):
    search, members, _ = raced
    whole = Raced(race=())
    volume = search.objectives.volume
    assert volume(members) > volume(whole.run()) - 0.01
    assert whole.looked == 120 * IMAGES


@pytest.mark.parametrize('chunk', [1, 7, 50])
def test_any_division_gives_the_same(raced, chunk):
    _, members, _ = raced
    assert Raced(chunk=chunk).run() == members


@pytest.mark.parametrize('known', [3, 40, 77, 120])
def test_a_race_goes_on_with_what_is_known(raced, known):
    search, members, _ = raced
    later = Raced(known=search.written[:known])
    assert later.run() == members
    assert len(later.written) == 120 - known


@pytest.mark.parametrize(
    'race', [0.5, 'half', [0.5, 0.5], [0.5, 0.25], [0, 0.5], [0.5, 1], [True]]
)
def test_shares_must_rise(race):
    with pytest.raises(ValueError, match='^race=.*; must list shares of the '):
        ends_of(race, IMAGES)


def test_parts_are_counted_in_images():
    assert ends_of([0.125, 0.5], 2000) == [250, 1000, 2000]
    assert ends_of((0.01,), 150) == [2, 150]
    assert ends_of([0.1, 0.5], 2) == [1, 2]
    assert ends_of([0.0625, 0.125, 0.25, 0.5], 6) == [1, 2, 3, 6]
