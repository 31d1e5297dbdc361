"""Who survives a generation: a quota for every part of the cost range."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymoo.core.population import Population
from pymoo.core.survival import Survival
from pymoo.operators.survival.rank_and_crowding.metrics import (
    calc_crowding_distance,
)
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from eavit_mm.options import check_number, is_finite
from eavit_mm.registry import TASK_UTILS
from eavit_mm.space.pareto import bin_of

# The release's shares of the population in 20 bins of equal width, from the
# cheapest to the most expensive networks.
EAVIT_QUOTAS = (2, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 5, 5, 4, 4)


@TASK_UTILS.register_module()
class PartitionSurvival(Survival):
    """EA-ViT's partition-based selection with iterative crowding distance.

    The cost range that the problem reaches (its ``cost_range``, of the
    objective ``cost_axis``) is cut into bins of equal width; each bin keeps
    its quota, by rank, so that the front covers the whole range. A bin that
    lacks candidates gives its quota to its neighbours. The front that must be
    cut loses one individual after the other, always the most crowded. With
    two objectives, neighbours in cost nearer than ``min_gap`` count as one:
    the worse ones are taken only where nothing else is left.

    Differs from the release: ranks are those of the whole population.

    Args:
        quotas: One number per bin, from the cheapest on; scaled to the
            population. Default: the release's 20.
        min_gap: In units of the cost objective, which is MACs / MACs of the
            largest in a search.

    Example:
        >>> survival = dict(type='eavit_mm.PartitionSurvival')
    """

    def __init__(
        self, quotas: Sequence[float] = EAVIT_QUOTAS, min_gap: float = 0.002
    ) -> None:
        super().__init__(filter_infeasible=True)
        is_list = isinstance(quotas, list | tuple)
        if not is_list or not all(is_finite(q) and q >= 0 for q in quotas):
            raise ValueError(
                f'quotas={quotas!r}; must list numbers of at least 0'
            )
        if not sum(quotas):
            raise ValueError(f'quotas={quotas!r}; must not all be 0')
        check_number('min_gap', min_gap)
        self.quotas = list(quotas)
        self.min_gap = min_gap

    def _do(
        self,
        problem: Any,
        pop: Population,
        *args: Any,
        n_survive: int,
        **kwargs: Any,
    ) -> Population:
        objectives = pop.get('F').astype(float, copy=False)
        ranks = self._rank(objectives, problem.cost_axis)
        _annotate(pop, objectives, ranks)
        cost = objectives[:, problem.cost_axis]
        number = len(self.quotas)
        low, high = problem.cost_range
        bins = np.array([bin_of(c, low, high, number) for c in cost])
        members = [np.flatnonzero(bins == place) for place in range(number)]
        counts = fill_bins(
            divide(n_survive, self.quotas), [len(m) for m in members]
        )
        survivors = [
            index
            for inside, count in zip(members, counts, strict=True)
            for index in best_of(inside, objectives, ranks, count)
        ]
        return pop[survivors]

    def _rank(self, objectives: np.ndarray, axis: int) -> np.ndarray:
        """Pareto ranks; of too near neighbours the worse come last."""
        _, ranks = NonDominatedSorting().do(objectives, return_rank=True)
        if objectives.shape[1] > 2:
            return ranks  # of equal cost, but different in a third objective
        cost = objectives[:, axis]
        others = np.delete(objectives, axis, axis=1)
        # From best to worst, so that the better of two neighbours stays.
        order = np.lexsort((*others.T[::-1], ranks))
        behind = ranks.max() + 1
        kept: list[float] = []
        for index in order:
            if any(abs(cost[index] - other) < self.min_gap for other in kept):
                ranks[index] += behind
            else:
                kept.append(cost[index])
        return ranks


def divide(total: int, quotas: Sequence[float]) -> list[int]:
    """Divides a number in proportion to quotas (largest remainders)."""
    exact = np.asarray(quotas, dtype=float) * total / sum(quotas)
    whole = np.floor(exact).astype(int)
    order = np.argsort(whole - exact, kind='stable')
    whole[order[: total - whole.sum()]] += 1
    return whole.tolist()


def fill_bins(quotas: Sequence[int], available: Sequence[int]) -> list[int]:
    """How many each bin gives when some have too few for their quota.

    What a bin lacks goes one by one to the nearest bin that has more, the
    cheaper one first. Where all have fewer than the quotas ask for, all
    candidates are taken.
    """
    taken = np.minimum(quotas, available)
    for place, quota in enumerate(quotas):
        for _ in range(quota - min(quota, available[place])):
            rest = [i for i, n in enumerate(available) if taken[i] < n]
            if not rest:
                break
            taken[min(rest, key=lambda i: (abs(i - place), i))] += 1
    return taken.tolist()


def best_of(
    inside: np.ndarray, objectives: np.ndarray, ranks: np.ndarray, number: int
) -> list[int]:
    """The best of a bin: whole fronts, of the last one the least crowded.

    Of the candidates ``inside``, given by their indices among all points, at
    most so many. Objectives are (points, objectives), ranks (points).
    """
    taken: list[int] = []
    for rank in np.unique(ranks[inside]):
        front = inside[ranks[inside] == rank]
        keep = thin_out(objectives[front], number - len(taken))
        taken += front[keep].tolist()
    return taken


def thin_out(objectives: np.ndarray, keep: int) -> list[int]:
    """Drops the most crowded point of a front, computes anew, and so on.

    The rising indices of those that stay; objectives are (points,
    objectives).
    """
    left = list(range(len(objectives)))
    while len(left) > keep:
        distances = calc_crowding_distance(objectives[left])
        left.pop(int(np.argmin(distances)))
    return left


def _annotate(
    pop: Population, objectives: np.ndarray, ranks: np.ndarray
) -> None:
    """Notes what pymoo's tournament and optimum look at."""
    pop.set('rank', ranks)
    for rank in np.unique(ranks):
        front = np.flatnonzero(ranks == rank)
        distances = calc_crowding_distance(objectives[front])
        pop[front].set('crowding', distances)
