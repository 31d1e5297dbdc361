"""Sorting units by importance without changing the network's function."""

from .criteria import (
    ActivationCriterion,
    Criterion,
    MagnitudeCriterion,
    NoCriterion,
    RandomCriterion,
    Scores,
    TaylorCriterion,
)
from .permute import Permutation, permute_backbone, rearrange

__all__ = [
    'ActivationCriterion',
    'Criterion',
    'MagnitudeCriterion',
    'NoCriterion',
    'Permutation',
    'RandomCriterion',
    'Scores',
    'TaylorCriterion',
    'permute_backbone',
    'rearrange',
]
