"""Weights of other libraries' Vision Transformers, in mmpretrain's names."""

from .convert import convert_weights
from .flax import from_flax
from .heads import place_head
from .hugging_face import from_hugging_face
from .layouts import layout_of
from .pretrained import resolve_pretrained
from .read import read_weights
from .timm import from_timm

__all__ = [
    'convert_weights',
    'from_flax',
    'from_hugging_face',
    'from_timm',
    'layout_of',
    'place_head',
    'read_weights',
    'resolve_pretrained',
]
