"""The search as pymoo sees it: integer genomes, objectives, limits."""

from typing import Any

import numpy as np
from pymoo.core.problem import Problem

from eavit_mm.search.evaluations import Measure
from eavit_mm.search.objectives import Objectives


class SubnetProblem(Problem):
    """Subnets of a space as integer genomes (1 + 2L genes when free).

    Args:
        objectives: The space, what is minimised, and within which limits.
        evaluate: Measures subnets; the same subnet may be asked for again.

    Attributes:
        cost_table: The cost that bins divide.
        cost_axis: Which objective it is.
        cost_range: Lowest and highest cost within the limits, as shares.
    """

    def __init__(self, objectives: Objectives, evaluate: Measure) -> None:
        self.space, self.objectives = objectives.space, objectives
        self.evaluate_subnets = evaluate
        bounds = [b for both in objectives.limits.values() for b in both]
        low, high = self.space.genome.bounds
        super().__init__(
            n_var=len(low),
            n_obj=len(objectives.names),
            n_ieq_constr=len(bounds) - bounds.count(None),
            xl=low,
            xu=high,
            vtype=int,
        )
        name = objectives.cost
        self.cost_axis = objectives.names.index(name)
        table = self.cost_table = objectives.tables[name]
        least, most = objectives.limits.get(name, (None, None))
        self.cost_range = (
            max(table.lowest, least or 0.0) / table.largest,
            min(table.largest, table.largest if most is None else most)
            / table.largest,
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
