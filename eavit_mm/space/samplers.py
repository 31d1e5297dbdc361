"""Which subnets one training step trains."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from eavit_mm.options import (
    check_count,
    check_list,
    check_probability,
    is_positive,
)
from eavit_mm.registry import TASK_UTILS, build_part
from eavit_mm.space.cells import Branch
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.curriculum import Level
from eavit_mm.space.fitting import Walker
from eavit_mm.space.search_space import SearchSpace
from eavit_mm.space.subnet import Subnet

Cost = Callable[[Subnet], float]


class SubnetSampler(ABC):
    """Draws the subnets of one step; a pure function of its arguments."""

    @abstractmethod
    def draw(self, level: Level, cost: Cost, rng: Generator) -> list[Subnet]:
        """The subnets to train in this step, in the order of their passes.

        Args:
            level: The box of this moment of the curriculum, and how often
                branches are off.
            cost: MACs of a subnet.
            rng: Seeded for this step.

        Returns:
            At least one member of ``level.box``.
        """


@TASK_UTILS.register_module()
class LargestSampler(SubnetSampler):
    """Only the largest subnet: plain fine-tuning."""

    def draw(self, level: Level, cost: Cost, rng: Generator) -> list[Subnet]:
        """See the base class."""
        return [level.box.largest]


class RandomSampler(SubnetSampler):
    """Draws ``num`` subnets, one like the other.

    Args:
        num: Subnets of one step, each with a forward and backward pass.
    """

    def __init__(self, num: int = 1) -> None:
        check_count('num', num, least=1)
        self.num = num

    def draw(self, level: Level, cost: Cost, rng: Generator) -> list[Subnet]:
        """See the base class."""
        return [self._draw_one(level, cost, rng) for _ in range(self.num)]

    @abstractmethod
    def _draw_one(self, level: Level, cost: Cost, rng: Generator) -> Subnet:
        """One member of ``level.box``."""


@TASK_UTILS.register_module()
class UniformSampler(RandomSampler):
    """Every axis and layer uniform between its bound and its maximum.

    The paper's sampler. Over a free space its draws crowd around the middle
    of the MACs range.

    Example:
        >>> sampler = dict(type='eavit_mm.UniformSampler')
    """

    def _draw_one(self, level: Level, cost: Cost, rng: Generator) -> Subnet:
        return level.box.sample(rng, level.p_off)


@TASK_UTILS.register_module()
class SharedSampler(RandomSampler):
    """One draw per axis for all layers, as the EA-ViT release does.

    Each axis is uniform over its choices; layers differ only where branches
    are off.
    """

    def _draw_one(self, level: Level, cost: Cost, rng: Generator) -> Subnet:
        box = level.box
        # One number per axis places all its cells, also where layers differ
        # in how many choices they have.
        groups = dict.fromkeys(cell.axes for cell in box.cells)
        drawn = {axes: rng.random() for axes in groups}
        indices = [
            int(drawn[cell.axes] * cell.num_choices) for cell in box.cells
        ]
        return box.build(indices, box.sample_off(rng, level.p_off))


def _jitter(
    box: SearchSpace, indices: Sequence[int], jitter: int, rng: Generator
) -> list[int]:
    """Every cell's index, moved at random by up to ``jitter`` places."""
    moves = rng.integers(-jitter, jitter + 1, size=len(box.cells))
    return [
        min(max(index + int(move), 0), cell.num_choices - 1)
        for cell, index, move in zip(box.cells, indices, moves, strict=True)
    ]


@TASK_UTILS.register_module()
class LadderSampler(RandomSampler):
    """Networks of uniform width, each equally often, and their neighbours.

    Takes one of the box's ``uniform(s)``; in a part of the draws every cell
    then moves by up to ``jitter`` choices. So each uniform network is trained
    as such, as HydraViT trains its tied ones, small ones as often as large
    ones, and the layers are free around them.

    Args:
        num: Subnets of one step.
        p_jitter: How often cells move.
        jitter: Largest random move of a cell, in choices.

    Example:
        >>> sampler = dict(type='eavit_mm.LadderSampler', p_jitter=0.5)
    """

    def __init__(
        self, num: int = 1, p_jitter: float = 0.5, jitter: int = 1
    ) -> None:
        super().__init__(num)
        check_probability('p_jitter', p_jitter)
        check_count('jitter', jitter)
        self.p_jitter = p_jitter
        self.jitter = jitter

    def _draw_one(self, level: Level, cost: Cost, rng: Generator) -> Subnet:
        box = level.box
        ladder = box.uniform_ladder
        rung = ladder[rng.integers(len(ladder))]
        indices: Sequence[int] = box.decisions(rung).indices
        if rng.random() < self.p_jitter:
            indices = _jitter(box, indices, self.jitter, rng)
        return box.build(indices, box.sample_off(rng, level.p_off))


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
        check_count('jitter', jitter)
        self.jitter = jitter
        self._known: tuple[Level, Cost, Walker] | None = None

    def _draw_one(self, level: Level, cost: Cost, rng: Generator) -> Subnet:
        box, walker = level.box, self._walker_of(level, cost)
        table = walker.tables['macs']
        target = rng.uniform(table.lowest, table.highest)
        rung = min(
            box.uniform_ladder,
            key=lambda subnet: abs(table.of_subnet(subnet) - target),
        )
        off = box.sample_off(rng, level.p_off)
        widest = [cell.num_choices - 1 for cell in box.cells]
        while off and table.of(widest, off) < target:
            off.pop()  # so many branches off cannot cost that much
        indices = _jitter(box, box.decisions(rung).indices, self.jitter, rng)
        # The embedding's is the first cell.
        indices[0] = _embedding_that_reaches(table, indices[0], off, target)
        return walker.approach(
            box.build(indices, off),
            dict(macs=(target, target)),
            rng,
            switches=False,  # p_off says how often branches are off
        )

    def _walker_of(self, level: Level, cost: Cost) -> Walker:
        # Levels live as long as the curriculum: made once for each.
        known = self._known
        if known is None or known[0] is not level or known[1] != cost:
            tables = dict(macs=CostTable(level.box, cost))
            known = self._known = (level, cost, Walker(level.box, tables))
        return known[2]


def _embedding_that_reaches(
    table: CostTable, index: int, off: Sequence[Branch], target: float
) -> int:
    """The embedding index nearest to the given one that reaches a cost.

    Too wide or too narrow, it would keep all layers from coming near.
    """
    embedding, *others = table.space.cells
    narrow = [0] * len(others)
    wide = [cell.num_choices - 1 for cell in others]
    found = range(embedding.num_choices)
    for other in sorted(found, key=lambda other: abs(other - index)):
        low = table.of([other, *narrow], off)
        if low <= target <= table.of([other, *wide], off):
            return other
    return index


@TASK_UTILS.register_module()
class MixedSampler(SubnetSampler):
    """One of several samplers at random in each step.

    Args:
        samplers: Configs of samplers.
        weights: How often each is taken; None for equally often.

    Example:
        >>> sampler = dict(
        ...     type='eavit_mm.MixedSampler',
        ...     samplers=[dict(type='eavit_mm.UniformSampler'),
        ...               dict(type='eavit_mm.LargestSampler')],
        ...     weights=[0.9, 0.1])
    """

    def __init__(
        self,
        samplers: Sequence[dict[str, Any]],
        weights: Sequence[float] | None = None,
    ) -> None:
        check_list('samplers', samplers, 'sampler')
        self.samplers = [
            build_part(f'samplers[{i}]', cfg, SubnetSampler)
            for i, cfg in enumerate(samplers)
        ]
        shares = np.array(_weights(weights, len(samplers), 'sampler'))
        self.shares = shares / shares.sum()

    def draw(self, level: Level, cost: Cost, rng: Generator) -> list[Subnet]:
        """See the base class."""
        number = rng.choice(len(self.samplers), p=self.shares)
        return self.samplers[number].draw(level, cost, rng)


def _weights(weights: Any, number: int, of_what: str) -> list[float]:
    """Weights of a draw from what a config says; None for equal ones."""
    if weights is None:
        return [1.0] * number
    if (
        not isinstance(weights, list | tuple)
        or len(weights) != number
        or not all(is_positive(weight) for weight in weights)
    ):
        raise ValueError(
            f'weights={weights!r}; must be {number} positive numbers, one '
            f'per {of_what}'
        )
    return [float(weight) for weight in weights]


@TASK_UTILS.register_module()
class FixedListSampler(SubnetSampler):
    """Members of a fixed list, one at random or all of them in a step.

    Those that the current level of the curriculum does not allow are left
    out; if none is allowed, the largest subnet is trained. HydraViT, DynaBERT
    and MatFormer are such lists.

    Args:
        subnets: What :meth:`SearchSpace.resolve` understands: numbers s,
            'largest', 'smallest', or dicts of a subnet's fields.
        num: How many different ones a step trains; None for all.
        weights: How often each is drawn; None for equally often.

    Example:
        >>> dict(type='eavit_mm.FixedListSampler', subnets=[0.25, 0.5, 1.0])
    """

    def __init__(
        self,
        subnets: Sequence[Any],
        num: int | None = 1,
        weights: Sequence[float] | None = None,
    ) -> None:
        check_list('subnets', subnets, 'subnet')
        if num is not None:
            check_count('num', num, least=1)
        self.subnets = list(subnets)
        self.num = num
        self.weights = _weights(weights, len(subnets), 'subnet')
        # A level lasts for many steps.
        self._level: Level | None = None
        self._allowed: dict[Subnet, float] = {}

    def _allowed_by(self, level: Level) -> dict[Subnet, float]:
        """The members that a level allows, and their weights."""
        if level is not self._level:
            allowed: dict[Subnet, float] = {}
            for spec, weight in zip(self.subnets, self.weights, strict=True):
                subnet = level.space.resolve(spec)
                if level.box.contains(subnet):
                    allowed[subnet] = allowed.get(subnet, 0.0) + weight
            self._level, self._allowed = level, allowed
        return self._allowed

    def draw(self, level: Level, cost: Cost, rng: Generator) -> list[Subnet]:
        """See the base class."""
        allowed = self._allowed_by(level)
        if not allowed:
            return [level.box.largest]
        members = list(allowed)
        if self.num is None or self.num >= len(members):
            return members
        share = np.array(list(allowed.values()))
        drawn = rng.choice(
            len(members), self.num, replace=False, p=share / share.sum()
        )
        return [members[i] for i in drawn]


@TASK_UTILS.register_module()
class SandwichSampler(SubnetSampler):
    """The largest, the smallest, and k others (the sandwich rule).

    The largest comes first, so that the others can learn from it.

    Args:
        num_others: k.
        others: Config of the sampler that draws them.
    """

    def __init__(
        self, num_others: int = 2, others: dict[str, Any] | None = None
    ) -> None:
        check_count('num_others', num_others)
        if others is None:
            others = dict(type='eavit_mm.UniformSampler')
        self.others = build_part('others', others, SubnetSampler)
        self.num_others = num_others

    def draw(self, level: Level, cost: Cost, rng: Generator) -> list[Subnet]:
        """See the base class."""
        drawn: list[Subnet] = []
        while len(drawn) < self.num_others:
            drawn += self.others.draw(level, cost, rng)
        box = level.box
        return [box.largest, *drawn[: self.num_others], box.smallest]


@TASK_UTILS.register_module()
class StableSampler(SubnetSampler):
    """The ends and one of each half of the uniform networks (Scala).

    Stable sampling (arXiv 2412.04786): the largest; one of those above the
    middle of the embedding widths; one of the others, the middle with them;
    the smallest uniform one. A half without a network gives none, and no
    branch is ever off.

    Example:
        >>> sampler = dict(type='eavit_mm.StableSampler')
    """

    def draw(self, level: Level, cost: Cost, rng: Generator) -> list[Subnet]:
        """See the base class."""
        *ladder, largest = level.box.uniform_ladder
        if not ladder:
            return [largest]
        smallest, *between = ladder
        middle = (smallest.embed_dims + largest.embed_dims) / 2
        upper = [subnet for subnet in between if subnet.embed_dims > middle]
        lower = [subnet for subnet in between if subnet.embed_dims <= middle]
        halves = filter(None, (upper, lower))
        drawn = [half[rng.integers(len(half))] for half in halves]
        return [largest, *drawn, smallest]
