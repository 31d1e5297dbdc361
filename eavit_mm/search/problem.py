"""The search as pymoo sees it: integer genomes, objectives, limits."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from pymoo.core.problem import Problem

from eavit_mm.search.objectives import Objectives
from eavit_mm.search.reachable import Reachable
from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.pareto import Member

Evaluate = Callable[[Sequence[Subnet]], Sequence[Member]]


class SubnetProblem(Problem):
    """Subnets of a space as integer genomes (1 + 2L genes when free).

    Args:
        space: The space that is searched.
        objectives: What is minimised, within which limits.
        evaluate: Measures subnets; the same subnet may be asked for again.
    """

    def __init__(
        self, space: SearchSpace, objectives: Objectives, evaluate: Evaluate
    ) -> None:
        low, high = space.genome.bounds
        super().__init__(
            n_var=len(low),
            n_obj=len(objectives.names),
            n_ieq_constr=objectives.num_limits,
            xl=low,
            xu=high,
            vtype=int,
        )
        self.space = space
        self.objectives = objectives
        self.evaluate_subnets = evaluate

    @property
    def cost_axis(self) -> int:
        """Which objective is the cost that bins divide."""
        return self.objectives.names.index(self.objectives.cost)

    @cached_property
    def cheapest(self) -> Subnet:
        """The member of least cost."""
        cost = self.objectives.costs[self.objectives.cost]
        return CostTable(self.space, cost).cheapest

    @cached_property
    def reachable(self) -> Reachable:
        """The members that keep the limits on cost; there are some."""
        objectives = self.objectives
        return Reachable(self.space, objectives.costs, objectives.limits)

    @property
    def cost_range(self) -> tuple[float, float]:
        """Lowest and highest cost within the limits, as shares."""
        name = self.objectives.cost
        largest = self.objectives.largest[name]
        least = self.objectives.costs[name](self.cheapest)
        low, high = self.objectives.limits.get(name, (None, None))
        return (
            max(least, low or 0.0) / largest,
            min(largest, largest if high is None else high) / largest,
        )

    def _evaluate(
        self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        subnets = [self.space.decode(genes) for genes in x.astype(int)]
        members = self.evaluate_subnets(subnets)
        # As arrays: pymoo takes a list for one array per objective.
        out['F'] = np.array([self.objectives.values(m) for m in members])
        if self.n_ieq_constr:
            out['G'] = np.array(
                [self.objectives.violations(m) for m in members]
            )
