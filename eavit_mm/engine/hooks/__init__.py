"""Hooks of a supernet's training."""

from .curriculum_hook import CurriculumHook
from .rearrange_hook import RearrangeHook
from .supernet_meta_hook import SupernetMetaHook

__all__ = ['CurriculumHook', 'RearrangeHook', 'SupernetMetaHook']
