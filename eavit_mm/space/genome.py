"""Decisions about a subnet <-> integer vector, for the search."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eavit_mm.space.cells import Branch, Cell, Decisions


@dataclass(frozen=True)
class Genome:
    """How decisions stand in an integer vector.

    A cell gives one gene, its index. Where a cell governs exactly one branch,
    off is the gene's value 0 and the indices follow (1 + 2L genes in a free
    space). Where it governs several, each branch has a gene of its own behind
    the cells' genes: 1 is on, 0 is off. A space in which nothing may be off
    has no off values.

    Attributes:
        cells: The cells of the space.
        may_be_off: Whether the space has branches off at all.
    """

    cells: tuple[Cell, ...]
    may_be_off: bool

    @cached_property
    def _lone(self) -> tuple[Branch | None, ...]:
        """Per cell, the branch that is off at the gene's value 0, if any."""
        return tuple(
            cell.branches[0]
            if self.may_be_off and len(cell.choices) == len(cell.branches) == 1
            else None
            for cell in self.cells
        )

    @cached_property
    def _branches_with_switch(self) -> tuple[Branch, ...]:
        """The branches that have an on/off gene of their own."""
        return tuple(
            branch
            for cell, lone in zip(self.cells, self._lone, strict=True)
            for branch in cell.branches
            if self.may_be_off and lone is None
        )

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest value of every gene, both inclusive."""
        high = [
            cell.num_choices - (lone is None)
            for cell, lone in zip(self.cells, self._lone, strict=True)
        ]
        high += [1] * len(self._branches_with_switch)
        return np.zeros(len(high), dtype=np.int64), np.array(high)

    def encode(self, decisions: Decisions) -> np.ndarray:
        """(genes): the vector of some decisions."""
        off = decisions.off
        genes = [
            index if lone is None else 0 if lone in off else index + 1
            for index, lone in zip(decisions.indices, self._lone, strict=True)
        ]
        genes += [
            int(branch not in off) for branch in self._branches_with_switch
        ]
        return np.array(genes, dtype=np.int64)

    def decode(self, values: Sequence[int] | np.ndarray) -> Decisions:
        """The decisions of a vector; any number of branches may be off.

        Raises:
            ValueError: If the length or a gene does not fit the space.
        """
        genes = np.asarray(values)
        low, high = self.bounds
        if genes.shape != low.shape or genes.dtype.kind not in 'iu':
            raise ValueError(
                f'a genome of this space has {len(low)} integers, got '
                f'shape {genes.shape} of {genes.dtype}'
            )
        wrong = np.flatnonzero((genes < low) | (genes > high))
        if len(wrong):
            gene = int(wrong[0])
            raise ValueError(
                f'gene {gene} is {genes[gene]}; must be 0 to {high[gene]}'
            )
        widths = genes[: len(self.cells)].tolist()
        switches = genes[len(self.cells) :].tolist()
        off = [
            b
            for b, on in zip(self._branches_with_switch, switches, strict=True)
            if not on
        ]
        indices = []
        for gene, lone in zip(widths, self._lone, strict=True):
            if lone is not None and gene == 0:
                off.append(lone)
            indices.append(gene if lone is None else max(gene - 1, 0))
        return Decisions(tuple(indices), frozenset(off))
