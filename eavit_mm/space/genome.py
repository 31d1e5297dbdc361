"""Subnet <-> integer vector, for the search.

A cell (see ``SearchSpace.cells``) gives one gene, its choice index. Where a
cell governs exactly one branch, off is the gene's value 0 and the indices
follow (1 + 2L genes in a free space). Where it governs several, each branch
has a gene of its own behind the cells' genes: 1 is on, 0 is off. A space
without ``max_off`` has no off values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eavit_mm.space.subnet import Subnet

if TYPE_CHECKING:
    from eavit_mm.space.box import Box
    from eavit_mm.space.cells import Cell


def width(subnet: Subnet, axis: str, layer: int) -> int:
    """The width of an axis in a layer; the embedding has one for all."""
    if axis == 'embed_dims':
        return subnet.embed_dims
    value: int = getattr(subnet, axis)[layer]
    return value


def open_indices(space: Box, cell: Cell, subnet: Subnet) -> set[int]:
    """Choice indices that the open widths of a cell stand at."""
    found = set()
    for axis in cell.axes:
        for layer in cell.layers:
            value = width(subnet, axis, layer)
            if value:
                found.add(space.choices(axis, layer).index(value))
    return found


def _off_in_gene(space: Box, cell: Cell) -> bool:
    """Whether the cell's own gene says that its branch is off."""
    return bool(
        space.max_off and len(cell.axes) == 1 and len(cell.branches) == 1
    )


def _off_genes(space: Box) -> list[tuple[str, int]]:
    """The branches that have an on/off gene of their own."""
    if not space.max_off:
        return []
    return [
        branch
        for cell in space.cells
        if not _off_in_gene(space, cell)
        for branch in cell.branches
    ]


def bounds(space: Box) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value of every gene, both inclusive."""
    high = [
        cell.num_choices - 1 + _off_in_gene(space, cell)
        for cell in space.cells
    ]
    high += [1] * len(_off_genes(space))
    return np.zeros(len(high), dtype=np.int64), np.array(high)


def encode(space: Box, subnet: Subnet) -> np.ndarray:
    """The genome of a member of the space.

    A cell whose branches are all off has no index; its gene is then 0.
    """
    genes = []
    for cell in space.cells:
        index = max(open_indices(space, cell, subnet), default=None)
        if _off_in_gene(space, cell):
            genes.append(0 if index is None else index + 1)
        else:
            genes.append(index or 0)
    genes += [
        int(bool(width(subnet, axis, layer)))
        for axis, layer in _off_genes(space)
    ]
    return np.array(genes, dtype=np.int64)


def decisions(
    space: Box, values: Sequence[int] | np.ndarray
) -> tuple[list[int], list[tuple[str, int]]]:
    """Indices of the cells, and the branches that are off, of a genome.

    ``max_off`` is not enforced here.

    Raises:
        ValueError: If the length or a gene does not fit the space.
    """
    genes = np.asarray(values)
    low, high = bounds(space)
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
    indices, off = [], []
    widths, switches = np.split(genes, [len(space.cells)])
    for cell, gene in zip(space.cells, widths.tolist(), strict=True):
        if _off_in_gene(space, cell):
            off += list(cell.branches) if gene == 0 else []
            gene = max(gene - 1, 0)
        indices.append(gene)
    for branch, is_on in zip(
        _off_genes(space), switches.tolist(), strict=True
    ):
        off += [] if is_on else [branch]
    return indices, off


def decode(space: Box, values: Sequence[int] | np.ndarray) -> Subnet:
    """The subnet of a genome; errors as :func:`decisions`."""
    return space.build(*decisions(space, values))
