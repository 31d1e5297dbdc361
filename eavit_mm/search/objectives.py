"""What a search minimises, within which limits, and how far it has come."""

from collections.abc import Mapping, Sequence
from typing import Any

from eavit_mm.options import check_choice, check_number, is_finite
from eavit_mm.search.limits import NO_TABLE, Reachable, read_limits
from eavit_mm.space import SearchSpace
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.pareto import (
    COSTS,
    METRIC,
    RULES,
    Member,
    hypervolume,
    non_dominated,
)


class Objectives:
    """Objectives and limits of a search; less is better in all.

    A cost counts as its share of the largest subnet's, the metric times
    ``scale``, negative where more of it is better.

    Args:
        space: The space that is searched.
        tables: Name to the costs of its members, for every known cost.
        names: 'metric' and one or more of 'macs', 'params', 'latency'.
        metric: Name of the metric in an evaluator's report.
        rule: 'greater' or 'less': which of two values is better.
        scale: Brings the metric to 0..1.
        worst: Value of the metric at the hypervolume's reference point; None
            is 0, and not allowed where less is better.
        constraints: Name to (lowest, highest), see :func:`read_limits`.

    Attributes:
        limits: Name to the range (lowest, highest) that the value must lie
            in; the metric's as reported, a cost's in its own unit.
        reachable: The members that keep the limits on cost.

    Raises:
        ValueError: Names the option, what it was, and what is valid; or says
            that no subnet was found that keeps the limits on cost.
    """

    def __init__(
        self,
        space: SearchSpace,
        tables: Mapping[str, CostTable],
        names: Sequence[str],
        metric: str,
        rule: str = 'greater',
        scale: float = 0.01,
        worst: float | None = None,
        constraints: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(metric, str):
            raise ValueError(
                f"metric={metric!r}; must be a name such as 'accuracy/top1'"
            )
        check_choice('rule', rule, RULES)
        check_number('metric_scale', scale, positive=True)
        _check_names(names, tables)
        if worst is None and rule == 'less':  # 0 would be the best
            raise ValueError(
                "metric_worst=None; with rule='less' it must be given: a "
                'value of the metric that is worse than any of interest'
            )
        if worst is not None and not is_finite(worst):
            raise ValueError(f'metric_worst={worst!r}; must be a number')
        self.space, self.tables = space, tables
        self.names, self.metric = tuple(names), metric
        self.rule, self.scale, self.worst = rule, scale, float(worst or 0)
        self.limits = read_limits(
            {} if constraints is None else constraints,
            {name: table.largest for name, table in tables.items()},
        )
        self.reachable = Reachable(space, tables, self.limits)

    @property
    def reference(self) -> list[float]:
        """Where the hypervolume is measured from."""
        return [
            self._to_minimise(self.worst) if name == METRIC else 1.0
            for name in self.names
        ]

    @property
    def cost(self) -> str:
        """The cost that bins divide: MACs, else the first objective's."""
        costs = [name for name in self.names if name != METRIC]
        return 'macs' if 'macs' in costs else costs[0]

    def _to_minimise(self, value: float) -> float:
        return self.scale * (-value if self.rule == 'greater' else value)

    def quality(self, member: Member) -> float:
        """The metric of an evaluated subnet; more is better."""
        return -self._to_minimise(member.metrics[self.metric])

    def values(self, member: Member) -> list[float]:
        """The objectives of an evaluated subnet."""
        return [
            -self.quality(member)
            if name == METRIC
            else member.cost(name) / self.tables[name].largest
            for name in self.names
        ]

    def violations(self, member: Member) -> list[float]:
        """By how much each limit is broken, as a share; at most 0: kept."""
        found = []
        for name, (low, high) in self.limits.items():
            value = self.limited_value(name, member)
            is_metric = name == METRIC
            unit = 1 / self.scale if is_metric else self.tables[name].largest
            if low is not None:
                found.append((low - value) / unit)
            if high is not None:
                found.append((value - high) / unit)
        return found

    def limited_value(self, name: str, member: Member) -> float:
        """The value that the limits of a name are about."""
        if name == METRIC:
            return member.metrics[self.metric]
        return member.cost(name)

    def allowed(self, members: Sequence[Member]) -> list[Member]:
        """The members that keep the limits."""
        return [m for m in members if max(self.violations(m), default=0) <= 0]

    def front(self, members: Sequence[Member]) -> list[Member]:
        """Those within the limits that no other one dominates, by MACs."""
        allowed = self.allowed(members)
        keep = non_dominated([self.values(member) for member in allowed])
        return sorted((allowed[i] for i in keep), key=lambda m: m.macs)

    def volume(self, members: Sequence[Member]) -> float:
        """Hypervolume of evaluated subnets."""
        return hypervolume([self.values(m) for m in members], self.reference)

    def volumes(self, members: Sequence[Member]) -> list[float]:
        """Hypervolume after each of the evaluations, in their order."""
        front: list[Member] = []
        found = []
        for member in members:
            front = self.front([*front, member])
            found.append(self.volume(front))
        return found


def _check_names(names: Any, known: Mapping[str, Any]) -> None:
    """Raises unless objectives are the metric and costs that are known."""
    valid = (METRIC, *COSTS)
    is_list = isinstance(names, list | tuple)
    if not is_list or any(name not in valid for name in names):
        raise ValueError(f'objectives={names!r}; must be of {list(valid)}')
    if METRIC not in names or len(set(names)) != len(names) or len(names) < 2:
        raise ValueError(
            f"objectives={list(names)}; must be 'metric' and one cost or "
            'more, each once'
        )
    if 'latency' in names and 'latency' not in known:
        raise ValueError(f'objectives={list(names)}: {NO_TABLE}')
