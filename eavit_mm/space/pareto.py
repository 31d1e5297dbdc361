"""The Pareto front of a search, in memory and on disk."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from math import inf, sqrt
from pathlib import Path
from typing import Any

import moocore
import numpy as np

from eavit_mm.files import read_json, write_atomically
from eavit_mm.options import (
    check_choice,
    check_count,
    check_keys,
    check_list,
    check_mapping,
    check_number,
    difference_of,
    is_finite,
    is_int,
)
from eavit_mm.space.fitting import Range
from eavit_mm.space.search_space import SearchSpace
from eavit_mm.space.subnet import Subnet

VERSION = 1
# The objective that every evaluation has besides its costs.
METRIC = 'metric'
COSTS = ('macs', 'params', 'latency')
RULES = ('greater', 'less')
# The fields of a front that list subnets.
MEMBERS = ('members', 'references')


@dataclass(frozen=True)
class Member:
    """An evaluated subnet.

    Attributes:
        subnet: Its widths.
        metrics: What the evaluator reported.
        macs: Multiply-adds of the whole model for one image.
        params: Parameters of the whole model.
        latency: Milliseconds by the latency table, if there was one.
        parts: The metric on the first so many images, if it raced.
    """

    subnet: Subnet
    metrics: Mapping[str, float]
    macs: int
    params: int
    latency: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)

    def cost(self, name: str) -> float:
        """One of its costs: 'macs', 'params' or 'latency'."""
        value: float = getattr(self, name)
        return value

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in JSON files."""
        values = asdict(self)
        values['subnet'] = self.subnet.to_dict()
        if self.latency is None:
            del values['latency']
        if not self.parts:
            del values['parts']
        return values

    @classmethod
    def from_dict(cls, values: Any) -> 'Member':
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If a field is missing or has a wrong value.
        """
        check_mapping('member', values, 'a subnet, its metrics and costs')
        *needed, latency, parts = (field.name for field in fields(cls))
        check_keys('member', values, needed, [latency, parts])
        for key in ('metrics', 'parts'):
            numbers = values.get(key, {})
            check_mapping(key, numbers, 'names and finite numbers')
            for name, value in numbers.items():
                if not is_finite(value):
                    raise ValueError(
                        f'{key}: {name}={value!r:.80}; must be finite'
                    )
        for name in ('macs', 'params'):
            check_count(name, values[name])
        if values.get('latency') is not None:
            check_number('latency', values['latency'])
        subnet = Subnet.from_dict(values['subnet'])
        return cls(**{**values, 'subnet': subnet})


@dataclass(frozen=True)
class ParetoFront:
    """What a search found, as it stands in ``pareto.json``.

    Attributes:
        space: The space that was searched.
        metric: Name of the metric in the evaluator's report.
        rule: 'greater' if more of it is better, else 'less'.
        objectives: 'metric' and costs, those that domination is about.
        members: Mutually non-dominated, sorted by MACs.
        references: The best subnet of every MACs bin, dominated or not.
        hypervolume: The volume that the members dominate (the reference
            point has metric 0 and costs 1).
        evaluations: How many subnets were evaluated.
        samples: On how many held-out samples; None if not known.
        limits: Cost to its lowest and highest value, None where there is
            none, if the search had any.
    """

    space: SearchSpace
    metric: str
    rule: str
    objectives: tuple[str, ...]
    members: tuple[Member, ...]
    references: tuple[Member, ...]
    hypervolume: float
    evaluations: int
    samples: int | None = None
    limits: Mapping[str, Range] | None = None

    def allows(self, member: Member) -> bool:
        """Whether the costs of a subnet are known to be within the limits."""
        return all(
            (cost := getattr(member, name)) is not None
            and (low or 0) <= cost <= (inf if high is None else high)
            for name, (low, high) in (self.limits or {}).items()
        )

    def quality(self, member: Member) -> float:
        """The metric of a subnet; more is better."""
        sign = 1 if self.rule == 'greater' else -1
        return sign * member.metrics[self.metric]

    @property
    def costs(self) -> list[str]:
        """Those of the objectives that are costs."""
        return [name for name in self.objectives if name != METRIC]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in JSON files."""
        plain: dict[str, Any] = dict(
            space=self.space.to_config(),
            objectives=list(self.objectives),
            members=[member.to_dict() for member in self.members],
            references=[member.to_dict() for member in self.references],
        )
        values = dict(version=VERSION, **{**vars(self), **plain})
        if self.limits is None:
            del values['limits']
        return values

    def write(self, path: str | Path) -> None:
        """Writes a ``pareto.json``, one member a line, atomically."""
        lines = []
        for key, value in self.to_dict().items():
            text = json.dumps(value)
            if key in MEMBERS:
                text = ',\n  '.join(map(json.dumps, value))
                text = f'[\n  {text}\n ]'
            lines.append(f' {json.dumps(key)}: {text}')
        content = ',\n'.join(lines)
        write_atomically(f'{{\n{content}\n}}\n'.encode(), path)

    @classmethod
    def read(cls, path: str | Path, space: SearchSpace) -> 'ParetoFront':
        """Reads a ``pareto.json`` of a space.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is broken or of another space; names the file.
        """
        return read_json(path, lambda values: cls.from_dict(values, space))

    @classmethod
    def from_dict(cls, values: Any, space: SearchSpace) -> 'ParetoFront':
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If it is broken or of another space.
        """
        check_mapping('Pareto front', values, 'what a search found')
        version = values.get('version')
        if not is_int(version) or version != VERSION:
            raise ValueError(
                f'version={version!r:.80}; this code reads {VERSION}'
            )
        given = {k: v for k, v in values.items() if k != 'version'}
        needed = [f.name for f in fields(cls) if f.default is MISSING]
        check_keys('Pareto front', given, needed, ['samples', 'limits'])
        _check_plain(given)
        check_mapping('space', given['space'], 'choices')
        difference = difference_of(given['space'], space.to_config())
        if difference:
            raise ValueError(f'this front is of another space: {difference}')
        parts: Any = {k: _members(given, k, space) for k in MEMBERS}
        parts['objectives'] = tuple(given['objectives'])
        if limits := given.get('limits'):
            parts['limits'] = {k: tuple(ends) for k, ends in limits.items()}
        front = cls(**{**given, **parts, 'space': space})
        front._check()
        return front

    def _check(self) -> None:
        points = [
            objective_values(m, self.objectives, self.metric, self.rule)
            for m in self.members
        ]
        macs = [member.macs for member in self.members]
        if macs != sorted(macs) or len(non_dominated(points)) != len(points):
            raise ValueError(
                'members must be sorted by MACs and none may dominate another'
            )


def _check_plain(values: Mapping[str, Any]) -> None:
    """Raises unless the values beside the members are valid."""
    names, valid = values['objectives'], (METRIC, *COSTS)
    is_list = isinstance(names, list) and len(names) > 0
    if not is_list or any(name not in valid for name in names):
        raise ValueError(f'objectives={names!r:.80}; must be of {valid}')
    if not isinstance(values['metric'], str):
        raise ValueError(f'metric={values["metric"]!r:.80}; must be a name')
    check_choice('rule', values['rule'], RULES)
    check_number('hypervolume', values['hypervolume'])
    check_count('evaluations', values['evaluations'])
    if values.get('samples') is not None:
        check_count('samples', values['samples'], least=1)
    if (limits := values.get('limits')) is not None:
        check_mapping('limits', limits, 'costs and ranges')
        for name, ends in limits.items():
            is_range = isinstance(ends, list) and len(ends) == 2
            if name not in COSTS or not (
                is_range and all(e is None or is_finite(e) for e in ends)
            ):
                raise ValueError(
                    f'limits: {name}={ends!r:.80}; must be [lowest, highest] '
                    f'of one of {COSTS}'
                )


def _members(
    values: Mapping[str, Any], key: str, space: SearchSpace
) -> tuple[Member, ...]:
    """The members under a key, each one in the space."""
    found = []
    check_list(key, values[key], 'subnet')
    for number, value in enumerate(values[key]):
        try:
            member = Member.from_dict(value)
            space.check(member.subnet)
            if values['metric'] not in member.metrics:
                raise ValueError(f'no metric {values["metric"]!r}')
            if 'latency' in values['objectives'] and member.latency is None:
                raise ValueError('no latency, which is an objective')
        except ValueError as error:
            raise ValueError(f'{key}[{number}]: {error}') from error
        found.append(member)
    return tuple(found)


def standard_error(metric: str, value: float, samples: int | None) -> float:
    """How far a value of a metric may be off by chance.

    Accuracies are shares of independent samples, whose error is binomial; two
    right and two wrong answers are added (Agresti and Coull, 1998), or 100 %
    would have none.

    Args:
        metric: Its name.
        value: In per cent, if it is an accuracy.
        samples: How many it was measured on; None if not known.

    Returns:
        In per cent; 0 if they are not known, or for another metric.
    """
    if samples is None or not metric.startswith('accuracy/'):
        return 0.0
    number = samples + 4
    share = (value / 100 * samples + 2) / number
    return 100 * sqrt(share * (1 - share) / number)


def objective_values(
    member: Member, objectives: Sequence[str], metric: str, rule: str
) -> list[float]:
    """The objectives of an evaluated subnet, less being better."""
    sign = -1 if rule == 'greater' else 1
    return [
        sign * member.metrics[metric] if name == METRIC else member.cost(name)
        for name in objectives
    ]


def non_dominated(points: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the points that no other one dominates; of equals one.

    Of every objective less is better.
    """
    if not len(points):
        return []
    keep = moocore.is_nondominated(np.asarray(points, dtype=float))
    return np.flatnonzero(keep).tolist()


def hypervolume(
    points: Sequence[Sequence[float]], reference: Sequence[float]
) -> float:
    """Volume that points dominate up to a reference point.

    Of every objective less is better; beyond the reference nothing counts.
    """
    if not len(points):
        return 0.0
    values = np.asarray(points, dtype=float)
    return float(moocore.hypervolume(values, ref=np.asarray(reference, float)))


def best_per_bin(
    members: Sequence[Member],
    quality: Callable[[Member], float],
    low: float,
    high: float,
    bins: int,
) -> list[Member]:
    """The member of highest quality in every non-empty bin, by MACs.

    The bins divide ``low`` to ``high`` MACs evenly; what lies outside counts
    in the first or last one.
    """
    best: dict[int, Member] = {}
    for member in members:
        place = bin_of(member.macs, low, high, bins)
        known = best.get(place)
        if known is None or quality(member) > quality(known):
            best[place] = member
    return [best[place] for place in sorted(best)]


def bin_of(macs: float, low: float, high: float, bins: int) -> int:
    """Which of ``bins`` parts of [low, high] a cost lies in."""
    share = (macs - low) / max(high - low, 1e-12)
    return min(max(int(share * bins), 0), bins - 1)
