"""What a search minimises, within which limits, and how far it has come."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eavit_mm.options import check_number, is_finite
from eavit_mm.search.limits import Range, read_limits
from eavit_mm.search.reachable import check_reachable
from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.pareto import (
    COSTS,
    METRIC,
    RULES,
    Member,
    hypervolume,
    non_dominated,
)


@dataclass(frozen=True)
class Objectives:
    """Objectives and limits of a search; less is better in all.

    A cost counts as its share of the largest subnet's, the metric times
    ``scale``, negative where more of it is better.

    Attributes:
        names: Two or more of 'metric', 'macs', 'params', 'latency'.
        metric: Name of the metric in an evaluator's report.
        rule: 'greater' or 'less': which of two values is better.
        scale: Brings the metric to 0..1.
        worst: Value of the metric at the hypervolume's reference point.
        costs: Name to cost of a subnet, for every cost that is known.
        largest: Costs of the largest subnet.
        limits: Name to the range that the value must lie in.
    """

    names: tuple[str, ...]
    metric: str
    rule: str
    scale: float
    worst: float
    costs: Mapping[str, Callable[[Subnet], float]]
    largest: Mapping[str, float]
    limits: Mapping[str, Range]

    @property
    def reference(self) -> list[float]:
        """Where the hypervolume is measured from."""
        return [
            self._scaled(self.worst) if name == METRIC else 1.0
            for name in self.names
        ]

    @property
    def cost(self) -> str:
        """The cost that bins divide: MACs, else the first objective's."""
        costs = [name for name in self.names if name != METRIC]
        return 'macs' if 'macs' in costs else costs[0]

    def _scaled(self, value: float) -> float:
        return self.scale * (-value if self.rule == 'greater' else value)

    def quality(self, member: Member) -> float:
        """The metric of an evaluated subnet; more is better."""
        return -self._scaled(member.metrics[self.metric])

    def values(self, member: Member) -> list[float]:
        """The objectives of an evaluated subnet."""
        return [
            self._scaled(member.metrics[self.metric])
            if name == METRIC
            else member.cost(name) / self.largest[name]
            for name in self.names
        ]

    def foretold_values(self, subnet: Subnet, metric: float) -> list[float]:
        """Objectives of a subnet whose metric is only foretold.

        Args:
            subnet: Its costs are known.
            metric: As :meth:`values` has it.
        """
        return [
            metric
            if name == METRIC
            else self.costs[name](subnet) / self.largest[name]
            for name in self.names
        ]

    def violations(self, member: Member) -> list[float]:
        """By how much each limit is broken, as a share; at most 0: kept."""
        found = []
        for name, (low, high) in self.limits.items():
            if name == METRIC:
                value, unit = member.metrics[self.metric], 1 / self.scale
            else:
                value, unit = member.cost(name), self.largest[name]
            if low is not None:
                found.append((low - value) / unit)
            if high is not None:
                found.append((value - high) / unit)
        return found

    def allows_costs(self, subnet: Subnet) -> bool:
        """Whether a subnet keeps the limits on its costs."""
        for name, (low, high) in self.limits.items():
            if name == METRIC:
                continue
            value = self.costs[name](subnet)
            if (low is not None and value < low) or (
                high is not None and value > high
            ):
                return False
        return True

    @property
    def num_limits(self) -> int:
        """How many values :meth:`violations` gives."""
        return sum(
            bound is not None
            for limits in self.limits.values()
            for bound in limits
        )

    def allowed(self, members: Sequence[Member]) -> list[Member]:
        """Those that keep the limits."""
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


def check_objectives(names: Any, known: Sequence[str]) -> tuple[str, ...]:
    """The names of objectives, checked.

    Args:
        names: What the config says.
        known: Costs that can be told.

    Raises:
        ValueError: If there are fewer than two, one is unknown or stands
            twice, or there is no cost or no metric.
    """
    is_list = isinstance(names, list | tuple)
    valid = (METRIC, *COSTS)
    if not is_list or any(name not in valid for name in names):
        raise ValueError(f'objectives={names!r}; must be of {list(valid)}')
    if METRIC not in names or len(set(names)) != len(names) or len(names) < 2:
        raise ValueError(
            f"objectives={list(names)}; must be 'metric' and one cost or "
            'more, each once'
        )
    if 'latency' in names and 'latency' not in known:
        raise ValueError(
            f'objectives={list(names)}: latency needs a table of this device '
            '(latency_table=FILE, made by tools/latency.py build)'
        )
    return tuple(names)


def check_rule(rule: Any) -> str:
    """Raises unless a rule says which of two values is better.

    Raises:
        ValueError: If it is unknown.
    """
    if rule not in RULES:
        raise ValueError(f'rule={rule!r}; must be one of {RULES}')
    return str(rule)


def build_objectives(
    names: Any,
    metric: Any,
    rule: Any,
    scale: Any,
    worst: Any,
    constraints: Any,
    costs: Mapping[str, Callable[[Subnet], float]],
    space: SearchSpace,
) -> Objectives:
    """Objectives from what a config says, all checked.

    Raises:
        ValueError: Names the option, what it was, and what is valid.
    """
    if not isinstance(metric, str):
        raise ValueError(
            f"metric={metric!r}; must be a name such as 'accuracy/top1'"
        )
    check_number('metric_scale', scale, positive=True)
    if not is_finite(worst):
        raise ValueError(f'metric_worst={worst!r}; must be a number')
    largest = {name: cost(space.largest) for name, cost in costs.items()}
    objectives = Objectives(
        check_objectives(names, list(costs)),
        metric,
        check_rule(rule),
        scale,
        worst,
        costs,
        largest,
        read_limits(constraints, largest),
    )
    check_reachable(objectives, space)
    return objectives
