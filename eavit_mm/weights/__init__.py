"""Weights of other libraries' Vision Transformers, in mmpretrain's names."""

from .convert import convert_weights
from .layouts import layout_of
from .pretrained import resolve_pretrained
from .read import read_weights

__all__ = [
    'convert_weights',
    'layout_of',
    'read_weights',
    'resolve_pretrained',
]
