"""The sampler that is even over the MACs range."""

from collections.abc import Sequence

import numpy as np

from eavit_mm.options import check_count
from eavit_mm.registry import TASK_UTILS
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.curriculum import Level
from eavit_mm.space.samplers import Cost, RandomSampler, jitter_indices
from eavit_mm.space.search_space import SearchSpace
from eavit_mm.space.subnet import Subnet


@TASK_UTILS.register_module()
class StratifiedSampler(RandomSampler):
    """Even over the MACs range: small and large subnets get their share.

    Draws a target uniformly between the MACs of the box's cheapest and
    dearest subnet, takes the nearest ``uniform(s)``, moves every cell by up
    to ``jitter`` choices, takes the next embedding width that can reach the
    target if this one cannot, and then steps layers towards the target while
    that brings the MACs nearer. How even the draws come out depends on how
    finely the space's widths divide the range.

    Args:
        num: Subnets of one step.
        jitter: Largest random move of a cell, in choices.
    """

    def __init__(self, num: int = 1, jitter: int = 1) -> None:
        super().__init__(num)
        check_count('jitter', jitter, least=0)
        self.jitter = jitter
        self._profile: _Profile | None = None

    def draw_one(
        self, level: Level, cost: Cost, rng: np.random.Generator
    ) -> Subnet:
        """See the base class."""
        box = level.box
        profile = self._profile_of(level, cost)
        target = rng.uniform(profile.low, profile.high)
        nearest = np.abs(profile.costs - target).argmin()
        off = box.sample_off(rng, level.p_off)
        widest = [cell.num_choices - 1 for cell in box.cells]
        while off and cost(box.build(widest, off)) < target:
            off.pop()  # so many branches off cannot cost that much
        indices = jitter_indices(
            box, profile.ladder[nearest], self.jitter, rng
        )
        indices[0] = _reaching(box, indices, off, target, cost)
        return _approach(box, indices, off, target, cost, rng)

    def _profile_of(self, level: Level, cost: Cost) -> '_Profile':
        # Levels live as long as the curriculum: made once for each.
        known = self._profile
        if known is None or known.level is not level or known.cost != cost:
            known = self._profile = _Profile(level, cost)
        return known


class _Profile:
    """Costs of a level's ``uniform(s)`` and of its extremes."""

    def __init__(self, level: Level, cost: Cost) -> None:
        box = level.box
        self.level, self.cost = level, cost
        table = CostTable(box, cost)
        self.low, self.high = table.lowest, table.highest
        ladder = box.uniform_ladder
        self.ladder = [box.decisions(subnet).indices for subnet in ladder]
        self.costs = np.array([cost(subnet) for subnet in ladder])


def _reaching(
    box: SearchSpace,
    indices: Sequence[int],
    off: Sequence[tuple[str, int]],
    target: float,
    cost: Cost,
) -> int:
    """The embedding index nearest to the given one that reaches a cost.

    The embedding's is the first cell. Too wide or too narrow, it would keep
    all layers from coming near the target.
    """
    embedding, *others = box.cells
    narrow = [0] * len(others)
    wide = [cell.num_choices - 1 for cell in others]
    for index in sorted(
        range(embedding.num_choices), key=lambda i: abs(i - indices[0])
    ):
        low = cost(box.build([index, *narrow], off))
        if low <= target <= cost(box.build([index, *wide], off)):
            return index
    return indices[0]


def _approach(
    box: SearchSpace,
    indices: list[int],
    off: Sequence[tuple[str, int]],
    target: float,
    cost: Cost,
    rng: np.random.Generator,
) -> Subnet:
    """Steps layers in random order towards a cost while that helps."""
    subnet = box.build(indices, off)
    error = cost(subnet) - target
    moved = True
    while moved and error:
        moved = False
        # The first cell is the embedding's, which is already placed.
        for number in 1 + rng.permutation(len(box.cells) - 1):
            step = -1 if error > 0 else 1
            index = indices[number] + step
            if not 0 <= index < box.cells[number].num_choices:
                continue
            candidate = [*indices]
            candidate[number] = index
            other = box.build(candidate, off)
            other_error = cost(other) - target
            if abs(other_error) < abs(error):
                indices, subnet, error = candidate, other, other_error
                moved = True
    return subnet
