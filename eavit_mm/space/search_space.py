"""Which subnets exist: choices per axis, ties between axes, branches off."""

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from functools import cached_property
from math import comb
from numbers import Real
from typing import Any, Self

import numpy as np

from eavit_mm.options import (
    check_choice,
    check_count,
    check_keys,
    check_mapping,
)
from eavit_mm.space.cells import (
    ALL_AXES,
    AXES,
    BRANCHES,
    EMBED,
    FFN,
    HEAD_DIMS,
    HEADS,
    Branch,
    Cell,
    Choices,
    Decisions,
    Place,
    check_choices,
    check_head_dims,
    check_max_off,
    check_shared,
    check_suffix,
    check_ties,
    choices_by_place,
    choices_per_layer,
    free_cells,
    is_list,
    problems_of,
)
from eavit_mm.space.genome import Genome
from eavit_mm.space.subnet import PREFIX, SUFFIX, Subnet

# Heads and layers of the networks of EA-ViT; a head has 64 channels.
_FULL = {'vit-t': (3, 12), 'vit-s': (6, 12), 'vit-b': (12, 12)}
_FULL['vit-l'] = 16, 24


@dataclass(frozen=True)
class SearchSpace:
    """A set of subnets: what a supernet trains and is searched in.

    Attributes:
        embed_dims: Choices of the embedding width.
        num_heads: Choices per layer, as one list for all layers or a list of
            lists. 0 is not a choice: see ``max_off``.
        feedforward_channels: Likewise.
        num_layers: L.
        head_dims: Channels of a head, the same in every subnet; or choices,
            of which a subnet has one in all its layers (Scala).
        max_off: How many of the 2L branches may be off.
        shared: Branch axes with one choice for all layers.
        ties: Groups of axes that share the index of their choice (HydraViT:
            all three; DynaBERT: heads and FFN; Scala: all but ``num_heads``).
        suffix_smallest: Subnets of the smallest embedding width have the last
            units, all others the first (Scala's isolated activation).

    Raises:
        ValueError: If a choice is no positive integer, choices repeat, tied
            axes differ in their number of choices, or ``max_off`` does not
            fit; the message names the option, its value and what is valid.

    Example:
        >>> SearchSpace([384, 768], [6, 12], [1536, 3072], num_layers=12,
        ...             head_dims=64, max_off=2)
    """

    embed_dims: Choices
    num_heads: tuple[Choices, ...]
    feedforward_channels: tuple[Choices, ...]
    num_layers: int
    head_dims: int | Choices
    max_off: int = 0
    shared: tuple[str, ...] = ()
    ties: tuple[tuple[str, ...], ...] = ()
    suffix_smallest: bool = False

    def __post_init__(self) -> None:
        check_count('num_layers', self.num_layers, least=1)
        checked: dict[str, Any] = {
            EMBED: check_choices(EMBED, self.embed_dims),
            HEAD_DIMS: check_head_dims(self.head_dims),
            'shared': check_shared(self.shared),
            'ties': check_ties(self.ties),
        }
        for axis in BRANCHES:
            checked[axis] = choices_per_layer(
                axis, getattr(self, axis), self.num_layers
            )
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        check_max_off(self.max_off, self.num_layers)
        check_suffix(self.suffix_smallest, self.embed_dims)
        self.cells  # noqa: B018  raises if what is tied does not match

    @classmethod
    def from_config(
        cls, cfg: Mapping[str, Any], *, num_layers: int, head_dims: int
    ) -> Self:
        """Builds the space of a config; the network gives what is left.

        Args:
            cfg: ``embed_dims``, ``num_heads``, ``feedforward_channels`` and
                optionally the other attributes.
            num_layers: L of the supernet.
            head_dims: Channels of a head of the supernet.

        Raises:
            ValueError: If a key is unknown, missing or contradicts the
                network.
        """
        check_mapping('space', cfg, f'choices of {list(AXES)}')
        values = {name: cfg[name] for name in cfg if name != 'type'}
        names = [field.name for field in fields(cls)]
        check_keys('space', values, AXES, names[len(AXES) :])
        network = dict(num_layers=num_layers, head_dims=head_dims)
        for name, value in network.items():
            given = values.setdefault(name, value)
            if name == HEAD_DIMS and is_list(given):
                given = check_choices(name, given)[-1]
            if given != value:
                raise ValueError(
                    f'space: {name}={values[name]!r}, but the network has '
                    f'{name}={value}'
                )
        return cls(**values)

    @classmethod
    def full(cls, arch: str) -> Self:
        """EA-ViT's whole space of a plain ViT (10^26 members for ViT-B).

        Raises:
            ValueError: If ``arch`` is not 'vit-t', '-s', '-b' or '-l'.
        """
        check_choice('arch', arch, list(_FULL))
        heads, num_layers = _FULL[arch]
        # Steps of one head for the embedding, of an eighth for the FFN.
        cfg = dict(
            embed_dims=[64 * number for number in range(1, heads + 1)],
            num_heads=range(1, heads + 1),
            feedforward_channels=[32 * heads * part for part in range(1, 9)],
            max_off=2 * num_layers,
        )
        return cls.from_config(cfg, num_layers=num_layers, head_dims=64)

    def to_config(self) -> dict[str, Any]:
        """Plain values; ``SearchSpace(**space.to_config())`` is the space."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        if not self.suffix_smallest:  # as in files from before it
            del values['suffix_smallest']
        return values  # tuples are lists, as in a file

    def restrict(
        self,
        embed_dims: int = 0,
        num_heads: int = 0,
        feedforward_channels: int = 0,
        max_off: int | None = None,
        head_dims: int = 0,
    ) -> Self:
        """The part of the space above lower bounds of the non-zero widths.

        A layer whose maximum is below a bound keeps that maximum; tied and
        shared axes follow the strictest bound among them. At most ``max_off``
        branches may be off; None: as in this space.

        Raises:
            ValueError: If a bound leaves no choice.
        """
        given = (embed_dims, head_dims, num_heads, feedforward_channels)
        bounds = dict(zip(ALL_AXES, given, strict=True))
        for axis, bound in bounds.items():
            layers = range(self.num_layers)
            widest = max(self.choices(axis, layer)[-1] for layer in layers)
            if bound > widest:
                raise ValueError(
                    f'{axis}: the lower bound {bound} leaves no choice; the '
                    f'largest is {widest}'
                )
        kept: dict[str, list[Choices]] = {axis: [] for axis in ALL_AXES}
        for cell in self.cells:
            first = cell.first_index(bounds)
            for (axis, _), choices in cell.choices.items():
                kept[axis].append(choices[first:])
        most = self.max_off if max_off is None else max_off
        return replace(
            self,
            embed_dims=kept[EMBED][0],
            num_heads=tuple(kept[HEADS]),
            feedforward_channels=tuple(kept[FFN]),
            head_dims=[*kept[HEAD_DIMS], self.head_dims][0],
            max_off=min(most, self.max_off),
            suffix_smallest=self.side_of(kept[EMBED][0][0]) == SUFFIX,
        )

    # Structure

    @cached_property
    def _choices(self) -> dict[Place, Choices]:
        """The non-zero widths of every axis in every layer, ascending."""
        return choices_by_place(*(getattr(self, axis) for axis in ALL_AXES))

    def choices(self, axis: str, layer: int = 0) -> Choices:
        """The non-zero widths of an axis in a layer, ascending."""
        return self._choices[axis, layer]

    def side_of(self, embed_dims: int) -> str:
        """Which channels and units the subnets of a width have."""
        is_last = self.suffix_smallest and embed_dims == self.embed_dims[0]
        return SUFFIX if is_last else PREFIX

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The free decisions about widths, the embedding's first."""
        return free_cells(self._choices, self.shared, self.ties)

    @cached_property
    def branches(self) -> tuple[Branch, ...]:
        """All (axis, layer) pairs that can be off."""
        return tuple(p for p in self._choices if p[0] in BRANCHES)

    @cached_property
    def _places(self) -> dict[Place, Choices]:
        """All choices, those of an axis of the whole network once."""
        known = self._choices.items()
        return {p: c for p, c in known if not p[1] or p[0] in BRANCHES}

    @cached_property
    def genome(self) -> Genome:
        """How decisions stand in an integer vector."""
        return Genome(self.cells, self.max_off > 0)

    def build(
        self, indices: Iterable[int], off: Iterable[Branch] = ()
    ) -> Subnet:
        """The subnet of some :class:`Decisions`, see :meth:`decisions`."""
        widths = {axis: [0] * self.num_layers for axis in AXES}
        widths[HEAD_DIMS] = [*self.choices(HEAD_DIMS)] * self.num_layers
        for cell, index in zip(self.cells, indices, strict=True):
            for (axis, layer), choices in cell.choices.items():
                widths[axis][layer] = choices[index]
        for axis, layer in off:
            widths[axis][layer] = 0
        return Subnet(
            embed_dims=widths[EMBED][0],
            num_heads=tuple(widths[HEADS]),
            feedforward_channels=tuple(widths[FFN]),
            head_dims=widths[HEAD_DIMS][0],
            side=self.side_of(widths[EMBED][0]),
        )

    def decisions(self, subnet: Subnet) -> Decisions:
        """What a member has decided; the index of a cell that is off is 0."""
        found = [cell.open_indices(subnet) for cell in self.cells]
        return Decisions(
            tuple(max(indices, default=0) for indices in found),
            frozenset(b for b in self.branches if not subnet.width(*b)),
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
        narrow = self.build([0] * len(self.cells))
        per_unit = {HEADS: 4 * narrow.head_dims, FFN: 2}
        weights_and_depth = {
            branch: (per_unit[branch[0]] * narrow.width(*branch), branch[1])
            for branch in self.branches
        }
        # A sort keeps the order of equals, reversed or not: of one layer the
        # attention goes first.
        heaviest = sorted(
            self.branches, key=weights_and_depth.__getitem__, reverse=True
        )
        return self.build([0] * len(self.cells), heaviest[: self.max_off])

    def uniform(self, s: float | Fraction) -> Subnet:
        """Every axis and layer at the choice nearest to s times its maximum.

        Between two choices equally near, the larger. Of tied axes the first
        decides, of a shared one the first layer.

        Raises:
            ValueError: If s lies outside [0, 1].
        """
        if not 0 <= s <= 1:
            raise ValueError(f's={s!r}; must lie in [0, 1]')
        exact = Fraction(str(s))  # 0.7 is 7/10, as it was written
        return self.build(bisect_right(c.switches, exact) for c in self.cells)

    @cached_property
    def uniform_ladder(self) -> tuple[Subnet, ...]:
        """All distinct ``uniform(s)``, from the smallest s to the largest."""
        steps = {s for cell in self.cells for s in cell.switches}
        return tuple(map(self.uniform, sorted({Fraction(0), *steps})))

    def resolve(self, spec: Any) -> Subnet:
        """A subnet from what a config may say.

        'largest', 'smallest', a number s (``uniform(s)``), a dict of a
        subnet's fields, one of ``widths`` (any of these) and their ``depth``
        (:meth:`Subnet.at_depth`), or a subnet.

        Raises:
            ValueError: If ``spec`` is none of these or not in the space.
        """
        if isinstance(spec, str) and spec in ('largest', 'smallest'):
            return getattr(self, spec)
        if isinstance(spec, Real) and not isinstance(spec, bool):
            return self.uniform(float(spec))
        if isinstance(spec, Mapping) and 'depth' in spec:
            check_keys('subnet', spec, ['widths', 'depth'])
            spec = self.resolve(spec['widths']).at_depth(spec['depth'])
        subnet = Subnet.from_dict(spec) if isinstance(spec, Mapping) else spec
        if not isinstance(subnet, Subnet):
            raise ValueError(
                f"subnet={spec!r}; must be 'largest', 'smallest', a number "
                "in [0, 1] or a subnet's fields"
            )
        self.check(subnet)
        return subnet

    def sample(self, rng: np.random.Generator, p_off: float = 0.5) -> Subnet:
        """Draws a member: every cell uniform over its choices.

        With probability ``p_off`` branches are off; then their number is
        uniform in [1, max_off], and any set of them equally likely.
        """
        indices = [int(rng.integers(cell.num_choices)) for cell in self.cells]
        return self.build(indices, self.sample_off(rng, p_off))

    def sample_off(
        self, rng: np.random.Generator, p_off: float
    ) -> list[Branch]:
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
        choices and n branches gives K choices for every set of open branches,
        but only one member where all its widths are 0.
        """
        counts = np.ones(1, dtype=object)  # Python's integers do not overflow
        for cell in self.cells:
            n = len(cell.branches)
            factor = [cell.num_choices * comb(n, off) for off in range(n + 1)]
            if not cell.is_whole:
                factor[n] = 1
            counts = np.convolve(counts, np.array(factor, dtype=object))
        return int(sum(counts[: self.max_off + 1]))

    def contains(self, subnet: Subnet) -> bool:
        """Whether the subnet is a member."""
        return not self._problems(subnet)

    def check(self, subnet: Subnet) -> None:
        """Raises a ValueError that names the first things that do not fit."""
        found = self._problems(subnet)
        if found:
            raise ValueError(
                f'{"; ".join(found[:3])}; was this subnet searched for '
                'another supernet?'
            )

    def _problems(self, subnet: Subnet) -> list[str]:
        """Why a subnet is not in this space; empty if it is."""
        if not isinstance(subnet, Subnet):
            return [f'{subnet!r} is not a Subnet']
        if subnet.num_layers != self.num_layers:
            return [
                f'the subnet has {subnet.num_layers} layers, this space '
                f'{self.num_layers}'
            ]
        side = self.side_of(subnet.embed_dims)
        return problems_of(
            subnet, self._places, self.cells, self.max_off, side
        )

    def nearest(self, subnet: Subnet) -> Subnet:
        """The member nearest to a subnet of as many layers.

        Every cell takes the index of least total distance, as a share of each
        axis's maximum. If too many branches are off, the first layers' open.

        Raises:
            ValueError: If the number of layers differs.
        """
        if subnet.num_layers != self.num_layers:
            raise ValueError(self._problems(subnet)[0])
        indices = []
        for cell in self.cells:
            distances = np.zeros(cell.num_choices)
            for place, choices in cell.choices.items():
                if width := subnet.width(*place):
                    steps = np.abs(np.array(choices) - width)
                    distances += steps / choices[-1]
            indices.append(int(distances.argmin()))
        off = [b for b in self.branches if not subnet.width(*b)]
        off.sort(key=lambda branch: branch[1], reverse=True)
        return self.build(indices, off[: self.max_off])

    # Genome

    def encode(self, subnet: Subnet) -> np.ndarray:
        """The integer genome of a member; see :class:`Genome`."""
        self.check(subnet)
        return self.genome.encode(self.decisions(subnet))

    def decode(self, values: Sequence[int] | np.ndarray) -> Subnet:
        """The member that a genome stands for.

        Raises:
            ValueError: If a gene is out of range or too many branches off.
        """
        subnet = self.build(*self.genome.decode(values))
        self.check(subnet)
        return subnet
