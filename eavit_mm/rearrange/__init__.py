"""Sorting units by importance without changing the network's function."""

from .criteria import (
    ActivationCriterion,
    Criterion,
    MagnitudeCriterion,
    NoCriterion,
    RandomCriterion,
    TaylorCriterion,
)
from .permute import (
    Permutation,
    check_sortable,
    permute_backbone,
    rearrange,
    sort_units,
)

__all__ = [
    'ActivationCriterion',
    'Criterion',
    'MagnitudeCriterion',
    'NoCriterion',
    'Permutation',
    'RandomCriterion',
    'TaylorCriterion',
    'check_sortable',
    'permute_backbone',
    'rearrange',
    'sort_units',
]
