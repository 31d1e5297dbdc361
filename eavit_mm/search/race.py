"""Candidates see more and more of the images; who falls behind leaves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil, sqrt

from eavit_mm.options import is_finite
from eavit_mm.search.front import best_members
from eavit_mm.search.objectives import Objectives
from eavit_mm.space import Subnet
from eavit_mm.space.pareto import METRIC, Member, standard_error

# Subnets of a search that see all images and are rivals of the next: the ends
# and uniform ones, spread over the range.
FIRST = 8


def ends_of(race: Sequence[float], images: int) -> list[int]:
    """How many images a candidate has seen after each part of a race.

    Args:
        race: Shares of the images at which candidates may leave. Of so few
            images that a part would have none of its own, there is no such
            part.
        images: All of them.

    Raises:
        ValueError: If the shares do not rise between 0 and 1.
    """
    is_list = isinstance(race, list | tuple) and all(map(is_finite, race))
    shares = (0, *race, 1) if is_list else (0, 0)
    if not all(a < b for a, b in pairwise(shares)):
        raise ValueError(
            f'race={race!r:.80}; must list shares of the images that rise '
            'between 0 and 1, such as [0.125, 0.25, 0.5]'
        )
    return sorted({ceil(share * images) for share in shares[1:]})


class Race:
    """Evaluates candidates on growing parts of the images.

    After a part a candidate leaves if a rival is better on the same images by
    more than the standard error of the candidate's accuracy. Rivals are the
    front of what earlier generations evaluated on all images, or the first
    subnets of the first one, of it those that cost no more. Who left counts
    as as much worse than its rival on all images as it was on the part: it is
    on no front, and does not suffer from a part that is harder than the
    whole. But for its rivals no candidate depends on others, so these may be
    divided in any way.

    Args:
        measure: Accuracies in per cent of subnets on the images from one
            number up to another.
        objectives: Whose metric is an accuracy.
        ends: See :func:`ends_of`.
        used: What earlier generations evaluated by this race.
    """

    def __init__(
        self,
        measure: Callable[[Sequence[Subnet], int, int], Sequence[Member]],
        objectives: Objectives,
        ends: Sequence[int],
        used: Mapping[Subnet, Member],
    ) -> None:
        self.measure, self.objectives = measure, objectives
        self.ends, self.used = ends, used

    def __call__(self, subnets: Sequence[Subnet]) -> list[Member]:
        """Results of subnets; their ``parts`` say on how many images."""
        whole = [m for m in self.used.values() if self.saw_all(m)]
        return self._run(subnets, self.objectives.front(whole))

    def saw_all(self, member: Member) -> bool:
        """Whether a result is of all images."""
        return str(self.ends[-1]) in member.parts

    def settle(
        self, members: Sequence[Member], bins: int
    ) -> tuple[list[Member], str]:
        """Members, of which those of the front and references saw all images.

        Who left may be the best of its bin: it is evaluated again.

        Returns:
            The members, of which those with ``parts`` saw some images only,
            and in words what the race took.
        """
        left = [m.subnet for m in members if not self.saw_all(m)]
        seen = sum(max(map(int, member.parts)) for member in members)
        found = {member.subnet: member for member in members}
        again = 0
        while True:
            _, best = best_members(self.objectives, [*found.values()], bins)
            early = [m.subnet for m in best if not self.saw_all(m)]
            if not early:
                break
            again += len(early)
            found.update({m.subnet: m for m in self._run(early, [])})
        share = (seen / self.ends[-1] + again) / len(members)
        settled = [
            replace(member, parts={}) if self.saw_all(member) else member
            for member in found.values()
        ]
        return settled, (
            f'Race: {len(left)} of {len(members)} subnets left early, {again} '
            f'of these were evaluated after all: {share:.1%} of the forwards'
        )

    def _run(
        self, subnets: Sequence[Subnet], front: Sequence[Member]
    ) -> list[Member]:
        """Results of subnets that race with a front."""
        found: dict[Subnet, Member] = {}
        running = list(subnets)
        for begin, end in pairwise((0, *self.ends)):
            measured = self.measure(running, begin, end) if running else ()
            running = []
            for part in measured:
                member = self._joined(found.get(part.subnet), part, begin, end)
                score = self._score_if_behind(member, front, end)
                if score is None:
                    running.append(part.subnet)
                else:
                    scores = {self.objectives.metric: score}
                    member = replace(member, metrics=scores)
                found[part.subnet] = member
        return [found[subnet] for subnet in subnets]

    def _joined(
        self, before: Member | None, part: Member, begin: int, end: int
    ) -> Member:
        """A result on a part and on those before it, as one."""
        known, parts = (before.metrics, before.parts) if before else ({}, {})
        metrics = {}
        for name, value in part.metrics.items():
            hits = value * (end - begin) + known.get(name, 0.0) * begin
            # In whole images: the sum of two shares would be off by bits.
            metrics[name] = 100 * round(hits / 100) / end
        score = metrics[self.objectives.metric]
        return replace(part, metrics=metrics, parts={**parts, str(end): score})

    def _score_if_behind(
        self, member: Member, front: Sequence[Member], end: int
    ) -> float | None:
        """What a subnet counts as if it leaves; None: it stays."""
        costs = [name for name in self.objectives.names if name != METRIC]
        rivals = [
            other
            for other in front
            if all(other.cost(name) <= member.cost(name) for name in costs)
        ]
        if not rivals or end == self.ends[-1]:
            return None
        metric = self.objectives.metric
        rival = max(rivals, key=lambda other: other.parts[str(end)])
        value = member.metrics[metric]
        behind = rival.parts[str(end)] - value
        error = standard_error(metric, value, end)
        # Drawn from all images without replacement: of all there is no error.
        if behind <= error * sqrt(1 - end / self.ends[-1]):
            return None
        return max(rival.metrics[metric] - behind, 0.0)
