"""The Pareto front of a search, in memory and on disk."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from math import sqrt
from pathlib import Path
from typing import Any

import moocore
import numpy as np

from eavit_mm.files import write_atomically
from eavit_mm.options import check_count, is_finite
from eavit_mm.space.search_space import SearchSpace
from eavit_mm.space.subnet import Subnet

VERSION = 1
# The objective that every evaluation has besides its costs.
METRIC = 'metric'
COSTS = ('macs', 'params', 'latency')
RULES = ('greater', 'less')


@dataclass(frozen=True)
class Member:
    """An evaluated subnet.

    Attributes:
        subnet: Its widths.
        metrics: What the evaluator reported.
        macs: Multiply-adds of the whole model for one image.
        params: Parameters of the whole model.
        latency: Milliseconds by the latency table, if there was one.
    """

    subnet: Subnet
    metrics: Mapping[str, float]
    macs: int
    params: int
    latency: float | None = None

    def cost(self, name: str) -> float:
        """One of its costs: 'macs', 'params' or 'latency'."""
        value: float = getattr(self, name)
        return value

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in JSON files."""
        values = dict(
            subnet=self.subnet.to_dict(),
            metrics=dict(self.metrics),
            macs=self.macs,
            params=self.params,
        )
        if self.latency is not None:
            values['latency'] = self.latency
        return values

    @classmethod
    def from_dict(cls, values: Any) -> 'Member':
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If a field is missing or has a wrong value.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f'a member must be a dict, got {values!r:.80}')
        metrics = values.get('metrics')
        if not isinstance(metrics, Mapping) or not all(
            is_finite(value) for value in metrics.values()
        ):
            raise ValueError(
                f'metrics={metrics!r:.80}; must be names and finite numbers'
            )
        for key in ('macs', 'params'):
            check_count(key, values.get(key))
        latency = values.get('latency')
        if latency is not None and not is_finite(latency):
            raise ValueError(f'latency={latency!r}; must be milliseconds')
        return cls(
            Subnet.from_dict(values.get('subnet', {})),
            dict(metrics),
            values['macs'],
            values['params'],
            latency,
        )


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

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in JSON files."""
        return dict(
            version=VERSION,
            space=self.space.to_config(),
            metric=self.metric,
            rule=self.rule,
            objectives=list(self.objectives),
            members=[member.to_dict() for member in self.members],
            references=[member.to_dict() for member in self.references],
            hypervolume=self.hypervolume,
            evaluations=self.evaluations,
            samples=self.samples,
        )

    def write(self, path: str | Path) -> None:
        """Writes a ``pareto.json``, one member a line, atomically."""
        lines = []
        for key, value in self.to_dict().items():
            text = json.dumps(value)
            if key in ('members', 'references'):
                text = ',\n  '.join(map(json.dumps, value))
                text = f'[\n  {text}\n ]'
            lines.append(f' {json.dumps(key)}: {text}')
        content = ',\n'.join(lines)
        write_atomically(f'{{\n{content}\n}}\n'.encode(), path)

    @classmethod
    def read(cls, path: str | Path, space: SearchSpace) -> 'ParetoFront':
        """Reads a ``pareto.json``.

        Args:
            path: The file.
            space: The space that it must be of.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is broken or of another space; names the file.
        """
        try:
            values = json.loads(Path(path).read_text(encoding='utf-8'))
            return cls.from_dict(values, space)
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{path}: {error}') from error

    @classmethod
    def from_dict(cls, values: Any, space: SearchSpace) -> 'ParetoFront':
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If it is broken or of another space.
        """
        _check_keys(values)
        if values['space'] != space.to_config():
            raise ValueError(
                'this front is of another space: '
                f'{values["space"]}; the network has {space.to_config()}'
            )
        front = cls(
            space,
            values['metric'],
            values['rule'],
            tuple(values['objectives']),
            _members(values, 'members', space),
            _members(values, 'references', space),
            values['hypervolume'],
            values['evaluations'],
            values.get('samples'),  # earlier versions wrote none
        )
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


def _check_keys(values: Any) -> None:
    if not isinstance(values, Mapping):
        raise ValueError('not a Pareto front: must be a JSON object')
    if values.get('version') != VERSION:
        raise ValueError(
            f'version={values.get("version")!r}; this code reads {VERSION}'
        )
    needed = {f.name for f in fields(ParetoFront) if f.default is MISSING}
    missing = sorted(needed - set(values))
    if missing:
        raise ValueError(f'not a Pareto front: {missing} missing')
    names = values['objectives']
    valid = (METRIC, *COSTS)
    is_list = isinstance(names, list) and names
    if not is_list or any(name not in valid for name in names):
        raise ValueError(f'objectives={names!r}; must be of {valid}')
    if not isinstance(values['metric'], str):
        raise ValueError(f'metric={values["metric"]!r}; must be a name')
    if values['rule'] not in RULES:
        raise ValueError(f'rule={values["rule"]!r}; must be one of {RULES}')
    if not is_finite(values['hypervolume']):
        raise ValueError(
            f'hypervolume={values["hypervolume"]!r}; must be a number'
        )
    check_count('evaluations', values['evaluations'])
    if values.get('samples') is not None:
        check_count('samples', values['samples'], least=1)


def _members(
    values: Mapping[str, Any], key: str, space: SearchSpace
) -> tuple[Member, ...]:
    """The members under a key, each one in the space."""
    found = []
    if not isinstance(values[key], list) or not values[key]:
        raise ValueError(f'{key}: must list at least one subnet')
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
        In per cent; 0 if the samples are not known, or for a metric that is
        no share of them.
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

    Args:
        points: Objectives, less being better.
    """
    if not len(points):
        return []
    keep = moocore.is_nondominated(np.asarray(points, dtype=float))
    return np.flatnonzero(keep).tolist()


def hypervolume(
    points: Sequence[Sequence[float]], reference: Sequence[float]
) -> float:
    """Volume that points dominate up to a reference point.

    Args:
        points: Objectives, less being better.
        reference: The corner beyond which nothing counts.
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
    """The best member of every non-empty MACs bin of equal width.

    Args:
        members: Evaluated subnets.
        quality: Larger is better.
        low: MACs where the first bin begins.
        high: MACs where the last one ends.
        bins: Their number.

    Returns:
        At most one per bin, sorted by MACs.
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
