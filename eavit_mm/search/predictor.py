"""A predictor that proposes subnets; what it says is never a result."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor

from eavit_mm.options import check_count
from eavit_mm.registry import TASK_UTILS


@TASK_UTILS.register_module()
class MetricPredictor:
    """Foretells the metric of a genome from those that were evaluated.

    Args:
        factor: Candidates made for each one that is proposed.
        min_evaluations: With fewer, nothing is foretold.
        num_trees: Of scikit-learn's extremely randomised trees.

    Example:
        >>> algorithm = dict(
        ...     type='eavit_mm.NSGA2',
        ...     predictor=dict(type='eavit_mm.MetricPredictor', factor=8))
    """

    def __init__(
        self,
        factor: int = 8,
        min_evaluations: int = 40,
        num_trees: int = 100,
    ) -> None:
        check_count('factor', factor, least=2)
        check_count('min_evaluations', min_evaluations, least=2)
        check_count('num_trees', num_trees, least=1)
        self.factor = factor
        self.min_evaluations = min_evaluations
        self.num_trees = num_trees
        self._genomes: list[np.ndarray] = []
        self._values: list[float] = []
        # What was foretold of the generation that is being evaluated.
        self._foretold: dict[bytes, float] = {}
        self.correlations: list[float] = []

    def learn(self, genomes: np.ndarray, values: Sequence[float]) -> None:
        """Takes in evaluated genomes, and notes how well it knew them."""
        known = [self._foretold.get(row.tobytes()) for row in genomes]
        pairs = [
            (guess, value)
            for guess, value in zip(known, values, strict=True)
            if guess is not None
        ]
        # Of equal values there is no rank correlation.
        if len(pairs) > 2 and all(
            len(set(column)) > 1 for column in zip(*pairs, strict=True)
        ):
            statistic = spearmanr(*zip(*pairs, strict=True)).statistic
            self.correlations.append(float(statistic))
        self._genomes += list(genomes)
        self._values += [float(value) for value in values]
        self._foretold = {}

    @property
    def is_ready(self) -> bool:
        """Whether enough was evaluated."""
        return len(self._values) >= self.min_evaluations

    def foretell(self, genomes: np.ndarray) -> np.ndarray:
        """The metric of genomes, one value each; less is better."""
        trees = ExtraTreesRegressor(self.num_trees, random_state=0, n_jobs=1)
        trees.fit(np.array(self._genomes), self._values)
        found: np.ndarray = trees.predict(genomes)
        self._foretold = {
            row.tobytes(): value
            for row, value in zip(genomes, found.tolist(), strict=True)
        }
        return found
