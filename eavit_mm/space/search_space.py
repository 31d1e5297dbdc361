"""Which subnets exist: choices per axis, ties between axes, branches off."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import comb
from numbers import Real
from typing import Any, Self

import numpy as np

from eavit_mm.space import genome
from eavit_mm.space.box import Box
from eavit_mm.space.cells import EMBED, Cell
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.subnet import Subnet

# Widths of the full spaces of EA-ViT: steps of one head for the embedding,
# of an eighth of its maximum for the FFN.
_FULL = {
    'vit-t': dict(embed_dims=192, num_heads=3),
    'vit-s': dict(embed_dims=384, num_heads=6),
    'vit-b': dict(embed_dims=768, num_heads=12),
    'vit-l': dict(embed_dims=1024, num_heads=16, num_layers=24),
}


@dataclass(frozen=True)
class SearchSpace(Box):
    """A set of subnets, the box that a supernet trains and is searched in.

    Attributes:
        embed_dims: Choices of the embedding width.
        num_heads: Choices per layer, as one list for all layers or a list of
            lists. 0 is not a choice: see ``max_off``.
        feedforward_channels: Likewise.
        num_layers: L.
        head_dims: Channels of a head, the same in every subnet.
        max_off: How many of the 2L branches may be off.
        shared: Branch axes with one choice for all layers.
        ties: Groups of axes that share the index of their choice (HydraViT:
            all three; DynaBERT: heads and FFN).

    Raises:
        ValueError: If a choice is no positive integer, choices repeat, tied
            axes differ in their number of choices, or ``max_off`` does not
            fit; the message names the option, its value and what is valid.

    Example:
        >>> SearchSpace([384, 768], [6, 12], [1536, 3072], num_layers=12,
        ...             head_dims=64, max_off=2)
    """

    @classmethod
    def full(cls, arch: str) -> Self:
        """EA-ViT's whole space of a plain ViT (10^26 members for ViT-B).

        Args:
            arch: 'vit-t', 'vit-s', 'vit-b' or 'vit-l'.

        Raises:
            ValueError: If there is no such architecture.
        """
        if arch not in _FULL:
            raise ValueError(f'arch={arch!r}; must be one of {list(_FULL)}')
        widths = {'num_layers': 12, **_FULL[arch]}
        embed_dims, heads = widths['embed_dims'], widths['num_heads']
        head_dims = embed_dims // heads
        half = embed_dims // 2
        return cls.from_config(
            dict(
                embed_dims=list(range(head_dims, embed_dims + 1, head_dims)),
                num_heads=list(range(1, heads + 1)),
                feedforward_channels=list(range(half, 8 * half + 1, half)),
                max_off=2 * widths['num_layers'],
            ),
            num_layers=widths['num_layers'],
            head_dims=head_dims,
        )

    # Members

    @cached_property
    def largest(self) -> Subnet:
        """Every axis at its maximum, no branch off."""
        return self.build([cell.num_choices - 1 for cell in self.cells])

    @cached_property
    def smallest(self) -> Subnet:
        """Every axis at its minimum and ``max_off`` branches off.

        The branches with most weights are off, among equals the deepest.
        """

        def weights(subnet: Subnet) -> int:
            heads = 4 * subnet.head_dims * sum(subnet.num_heads)
            ffn = 2 * sum(subnet.feedforward_channels)
            return subnet.embed_dims * (heads + ffn)

        return self.cheapest(weights)

    def cheapest(self, cost: Callable[[Subnet], float]) -> Subnet:
        """The member of least cost; see :class:`CostTable`.

        Args:
            cost: Adds up over the branches.
        """
        return CostTable(self, cost).cheapest

    def uniform(self, s: float) -> Subnet:
        """Every axis and layer at the choice nearest to s times its maximum.

        Of tied axes the first decides, of a shared one the first layer.

        Args:
            s: In [0, 1]; between two choices equally near, the larger.

        Raises:
            ValueError: If s lies outside [0, 1].
        """
        if not 0 <= s <= 1:
            raise ValueError(f's={s!r}; must lie in [0, 1]')
        indices = []
        for cell in self.cells:
            choices = self.choices(cell.axes[0], cell.layers[0])
            target = s * choices[-1]
            best = min(choices, key=lambda c: (abs(c - target), -c))
            indices.append(choices.index(best))
        return self.build(indices)

    @cached_property
    def uniform_ladder(self) -> tuple[Subnet, ...]:
        """All distinct ``uniform(s)``, from the smallest s to the largest."""
        steps = {0.0, 1.0}
        for cell in self.cells:
            choices = self.choices(cell.axes[0], cell.layers[0])
            for low, high in pairwise(choices):
                # Here the nearest choice changes, in favour of the larger.
                steps.add((low + high) / 2 / choices[-1])
        ladder: list[Subnet] = []
        for s in sorted(steps):
            # Rounding may leave s below the switch: step over it as well.
            for nudged in (s, min(1.0, s * (1 + 1e-9))):
                subnet = self.uniform(nudged)
                if not ladder or subnet != ladder[-1]:
                    ladder.append(subnet)
        return tuple(ladder)

    def uniform_within(
        self, budget: float, cost: Callable[[Subnet], float]
    ) -> Subnet:
        """The ``uniform(s)`` of the largest s whose cost fits the budget.

        Args:
            budget: The limit, in the unit of ``cost``.
            cost: Of a subnet; rises with s.

        Raises:
            ValueError: If not even ``uniform(0)`` fits.
        """
        fitting = [s for s in self.uniform_ladder if cost(s) <= budget]
        if not fitting:
            low, high = self.uniform_ladder[0], self.uniform_ladder[-1]
            raise ValueError(
                f'no uniform subnet fits the budget {_number(budget)}; '
                f'reachable are {_number(cost(low))} to '
                f'{_number(cost(high))}'
            )
        return fitting[-1]

    def resolve(self, spec: Any) -> Subnet:
        """A subnet from what a config may say.

        Args:
            spec: 'largest', 'smallest', a number s (``uniform(s)``), a dict
                of a subnet's fields, or a subnet.

        Raises:
            ValueError: If it is none of these or not in the space.
        """
        if isinstance(spec, Subnet):
            subnet = spec
        elif isinstance(spec, Mapping):
            subnet = Subnet.from_dict(spec)
        elif isinstance(spec, str) and spec in ('largest', 'smallest'):
            return getattr(self, spec)
        elif isinstance(spec, Real) and not isinstance(spec, bool):
            return self.uniform(float(spec))
        else:
            raise ValueError(
                f"subnet={spec!r}; must be 'largest', 'smallest', a number "
                "in [0, 1] or a subnet's fields"
            )
        self.check(subnet)
        return subnet

    def sample(self, rng: np.random.Generator, p_off: float = 0.5) -> Subnet:
        """Draws a member: every cell uniform over its choices.

        Args:
            rng: Source of randomness.
            p_off: Probability that branches are off at all; then their
                number is uniform in [1, max_off] and any set equally likely.
        """
        indices = [int(rng.integers(cell.num_choices)) for cell in self.cells]
        return self.build(indices, self.sample_off(rng, p_off))

    def sample_off(
        self, rng: np.random.Generator, p_off: float
    ) -> list[tuple[str, int]]:
        """Draws the branches that are off; see :meth:`sample`."""
        if not self.max_off or rng.random() >= p_off:
            return []
        number = int(rng.integers(1, self.max_off + 1))
        drawn = rng.choice(len(self.branches), size=number, replace=False)
        return [self.branches[i] for i in drawn]

    # Questions

    def size(self) -> int:
        """How many different subnets the space holds.

        A generating function in the number of branches off: a cell of K
        choices and n branches gives K choices for every set of open
        branches, but only one member where all its widths are 0.
        """
        counts = [1]
        for cell in self.cells:
            n = len(cell.branches)
            factor = [cell.num_choices * comb(n, off) for off in range(n + 1)]
            if EMBED not in cell.axes:
                factor[n] = 1
            counts = _multiply(counts, factor)
        return sum(counts[: self.max_off + 1])

    def problems(self, subnet: Subnet) -> list[str]:
        """Why a subnet is not in this space; empty if it is."""
        if not isinstance(subnet, Subnet):
            return [f'{subnet!r} is not a Subnet']
        if subnet.num_layers != self.num_layers:
            return [
                f'the subnet has {subnet.num_layers} layers, this space '
                f'{self.num_layers}'
            ]
        found = []
        if subnet.head_dims != self.head_dims:
            found.append(
                f'head_dims={subnet.head_dims}, this space has '
                f'{self.head_dims}'
            )
        if subnet.side != 'prefix':
            found.append(f'side={subnet.side!r}, this space has prefixes')
        if subnet.embed_dims not in self.embed_dims:
            found.append(
                f'embed_dims={subnet.embed_dims} is outside this space '
                f'({_join(self.embed_dims)})'
            )
        for axis, layer in self.branches:
            width = getattr(subnet, axis)[layer]
            choices = self.choices(axis, layer)
            if width and width not in choices:
                found.append(
                    f'layer {layer}: {axis}={width} is outside this space '
                    f'({_join(choices)})'
                )
        if subnet.num_off > self.max_off:
            found.append(
                f'{subnet.num_off} branches are off, max_off={self.max_off}'
            )
        return found or self._untied(subnet)

    def _untied(self, subnet: Subnet) -> list[str]:
        """Cells whose axes or layers disagree on the index."""
        found = []
        for cell in self.cells:
            if len(genome.open_indices(self, cell, subnet)) > 1:
                found.append(
                    f'{list(cell.axes)} must share one choice over layers '
                    f'{list(cell.layers)}'
                )
        return found

    def contains(self, subnet: Subnet) -> bool:
        """Whether the subnet is a member."""
        return not self.problems(subnet)

    def check(self, subnet: Subnet) -> None:
        """Raises if the subnet is not a member.

        Raises:
            ValueError: Names the first things that do not fit.
        """
        found = self.problems(subnet)
        if found:
            raise ValueError(
                f'{"; ".join(found[:3])}; was this subnet searched for '
                'another supernet?'
            )

    def nearest(self, subnet: Subnet) -> Subnet:
        """The member nearest to a subnet of as many layers.

        Every cell takes the index of least total distance, as a share of
        each axis's maximum. If too many branches are off, the first layers'
        open again, at their cell's width.

        Raises:
            ValueError: If the number of layers differs.
        """
        if subnet.num_layers != self.num_layers:
            raise ValueError(self.problems(subnet)[0])
        off = self.off_branches(subnet)
        off.sort(key=lambda branch: -branch[1])
        indices = [self._nearest_index(cell, subnet) for cell in self.cells]
        return self.build(indices, off[: self.max_off])

    def _nearest_index(self, cell: Cell, subnet: Subnet) -> int:
        def distance(index: int) -> float:
            total = 0.0
            for axis in cell.axes:
                for layer in cell.layers:
                    width = genome.width(subnet, axis, layer)
                    choices = self.choices(axis, layer)
                    if width:
                        total += abs(choices[index] - width) / choices[-1]
            return total

        return min(range(cell.num_choices), key=distance)

    # Genome

    def encode(self, subnet: Subnet) -> np.ndarray:
        """The integer genome of a member; see :mod:`eavit_mm.space.genome`."""
        self.check(subnet)
        return genome.encode(self, subnet)

    def decode(self, values: Sequence[int] | np.ndarray) -> Subnet:
        """The member that a genome stands for.

        Raises:
            ValueError: If a gene is out of range or too many branches off.
        """
        subnet = genome.decode(self, values)
        self.check(subnet)
        return subnet

    @property
    def genome_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest value of every gene, both inclusive."""
        return genome.bounds(self)


def _multiply(a: Sequence[int], b: Sequence[int]) -> list[int]:
    """Product of two polynomials, coefficients from degree 0 on."""
    product = [0] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            product[i + j] += x * y
    return product


def _number(value: float) -> str:
    return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.6g}'


def _join(choices: Iterable[int]) -> str:
    return ', '.join(map(str, choices))
