"""From scores of units to the subnet that a target leaves of them."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from eavit_mm.options import check_number
from eavit_mm.rearrange.criteria import Scores
from eavit_mm.space import SearchSpace, Subnet
from eavit_mm.space.cells import BRANCHES, FFN, HEADS, Branch, Decisions
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.fitting import (
    Limits,
    Position,
    Ranges,
    Walker,
    shown,
    with_index,
)

# Of each branch the share of units that falls after all others.
PROTECTED = {FFN: 0.05, HEADS: 0.2}


class Cuts(Walker):
    """Cuts the least important units off, at any target.

    A target is a sparsity (the paper's: heads and neurons are cut apart) or
    limits on costs, for which they compete by what they save. A branch is
    emptied only if the space lets it be off; widths are the space's.

    Args:
        space: What is cut; embedding and heads keep their widths.
        scores: How important heads and neurons are, those of a layer in
            descending order, in which they must stand in the network.
        tables: The cost table of each kind of cost that may be limited.
        exchange: How much a head's score weighs beside that of as many
            neurons as it has channels, where these compete.

    Raises:
        ValueError: If what is cut is tied to a width that stays.
    """

    def __init__(
        self,
        space: SearchSpace,
        scores: Scores,
        tables: Mapping[str, CostTable],
        exchange: float = 1.0,
    ) -> None:
        super().__init__(space, tables)
        check_number('exchange', exchange, positive=True)
        # Which come first, and keep their width.
        self._whole = sum(cell.is_whole for cell in space.cells)
        for cell in space.cells[: self._whole]:
            if cell.branches:
                raise ValueError(
                    f'space.ties: {cell.branches[0][0]} is tied to '
                    f'{cell.axes[0]}, which keeps its width; must be free'
                )
        self.scores: dict[Branch, np.ndarray] = {
            branch: scores[branch].double().numpy()
            for branch in space.branches
        }
        rows = space.largest.head_dims * exchange
        self._lost = {
            branch: self._losses(branch, rows if branch[0] == HEADS else 1.0)
            for branch in space.branches
        }

    def at_sparsity(self, ffn: float, heads: float) -> Subnet:
        """The subnet without these shares of all neurons and of all heads.

        In each branch the best 5 % of the neurons and 20 % of the heads fall
        last. Widths that the space lacks become the nearest that it has. Of
        the branches that this would empty, the space's ``max_off`` of least
        score are.

        Raises:
            ValueError: If a share is not in [0, 1), or more than can be cut.
        """
        shares = {FFN: ffn, HEADS: heads}
        subnet = self._without(shares, self.space.branches)
        emptied = [
            branch
            for branch in self.space.branches
            if subnet.width(*branch) < self.space.choices(*branch)[0]
        ]
        if len(emptied) > self.space.max_off:
            emptied.sort(key=lambda branch: self._lost[branch][0][1])
            subnet = self._without(shares, emptied[: self.space.max_off])
        return self.space.nearest(subnet)

    def largest_share(self, axis: str) -> float:
        """The largest sparsity of heads or neurons with no branch off."""
        layers = range(self.space.num_layers)
        choices = [self.space.choices(axis, layer) for layer in layers]
        return 1 - sum(c[0] for c in choices) / sum(c[-1] for c in choices)

    def at_sparsities(
        self, pairs: Iterable[tuple[float, float]]
    ) -> list[Subnet]:
        """As :meth:`at_sparsity`, of shares no larger than the largest."""
        ffn, heads = map(self.largest_share, (FFN, HEADS))
        return [
            self.at_sparsity(min(pair[0], ffn), min(pair[1], heads))
            for pair in pairs
        ]

    def _without(
        self, shares: Mapping[str, float], emptied: Collection[Branch]
    ) -> Subnet:
        """What stays, of branches not to be emptied the least width."""
        widths: dict[str, Any] = {
            axis: self._widths(axis, shares[axis], emptied)
            for axis in BRANCHES
        }
        return replace(self.space.largest, **widths)

    def _widths(
        self, axis: str, share: float, emptied: Collection[Branch]
    ) -> tuple[int, ...]:
        """How many units of each layer stay."""
        check_number(f'sparsity of {axis}', share)
        falls = []  # protected, score, place and layer of what may fall
        for layer in range(self.space.num_layers):
            scores = self.scores[axis, layer]
            least = self.space.choices(axis, layer)[0]
            first = 0 if (axis, layer) in emptied else least
            place = np.arange(first, len(scores))
            protected = place < int(PROTECTED[axis] * len(scores))
            falls.append((protected, scores[place], place, place * 0 + layer))
        protected, score, place, layers = map(
            np.concatenate, zip(*falls, strict=True)
        )
        sizes = [
            len(scores) for (a, _), scores in self.scores.items() if a == axis
        ]
        number = int(share * sum(sizes) + 1e-9)  # 0.07 * 100 is above 7
        if number > len(layers):
            raise ValueError(
                f'sparsity of {axis}: {share!r}; must be from 0 to '
                f'{len(layers) / sum(sizes):.4g}: a branch is emptied only if '
                f'space.max_off={self.space.max_off} lets it be off'
            )
        order = np.lexsort((-place, score, protected))
        fallen = np.bincount(layers[order[:number]], minlength=len(sizes))
        return tuple((sizes - fallen).tolist())

    def within(self, limits: Limits, start: Subnet | None = None) -> Subnet:
        """The subnet that keeps limits, after as few cuts as that takes.

        One step of a width at a time falls, the one of least score for what
        it saves; so a subnet of fewer MACs or parameters lies inside those of
        more. Measured times rise here and there as widths fall: where no step
        saves any, a width goes wherever one does.

        Args:
            limits: Kind of cost to the most of it; at least one.
            start: What is cut; None: the largest.

        Raises:
            ValueError: If no cut keeps them.
        """
        ranges = {kind: (None, limit) for kind, limit in limits.items()}
        found = self.approach(start or self.space.largest, ranges)
        while self.excess(found, ranges):
            further = self._leap(found, ranges)
            if further is None:
                tables = {kind: self.tables[kind] for kind in limits}
                low = {k: shown(t.of_subnet(found)) for k, t in tables.items()}
                raise ValueError(
                    f'limits={dict(limits)}: no cut of the whole embedding '
                    f'width keeps them; the nearest one has {low}'
                )
            found = self.approach(further, ranges)
        return found

    def _leap(self, subnet: Subnet, ranges: Ranges) -> Subnet | None:
        """The best change of one width that comes nearer, if one does."""
        place = self._place(self.space.decisions(subnet), ranges)
        steps = [
            self._place(with_index(place.state, number, index), ranges)
            for number, cell in enumerate(self.space.cells)
            if number >= self._whole
            for index in range(cell.num_choices)
        ]
        better = [step for step in steps if step.excess < place.excess]
        size = partial(self.size_of_step, place)
        step = min(better, key=size, default=None)
        return None if step is None else self.space.build(*step.state)

    # Competition

    def _around(self, state: Decisions, switches: bool) -> Iterator[Decisions]:
        """See the base class."""
        kept = state.indices[: self._whole]
        for other in super()._around(state, switches):
            if other.indices[: self._whole] == kept:
                yield other

    def _losses(
        self, branch: Branch, weight: float
    ) -> list[tuple[int, float]]:
        """Protected units and score lost where it is off, then by choice."""
        scores = self.scores[branch]
        protected = int(PROTECTED[branch[0]] * len(scores))
        return [
            (max(protected - width, 0), weight * float(scores[width:].sum()))
            for width in (0, *self.space.choices(*branch))
        ]

    def _loss(self, state: Decisions) -> tuple[int, float]:
        """Protected units and score that a subnet lacks."""
        protected, score = 0, 0.0
        for cell, index in zip(self.space.cells, state.indices, strict=True):
            for branch in cell.branches:
                choice = 0 if branch in state.off else index + 1
                lost = self._lost[branch][choice]
                protected, score = protected + lost[0], score + lost[1]
        return protected, score

    def size_of_step(self, place: Position, step: Position) -> Any:
        """Protected units that a step loses, then score for what it saves."""
        protected, score = self._loss(step.state)
        protected_before, before = self._loss(place.state)
        saved = sum(place.costs) - sum(step.costs)
        return protected - protected_before, (score - before) / max(
            saved, 1e-12
        )
