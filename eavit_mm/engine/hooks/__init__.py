"""Hooks of a supernet's training."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .curriculum_hook import CurriculumHook
from .rearrange_hook import RearrangeHook
from .reproducible_hook import ReproducibleHook
from .router_hook import RouterHook
from .supernet_meta_hook import SupernetMetaHook
from .teacher_hook import TeacherHook

__all__ = [
    'AtomicCheckpointHook',
    'CurriculumHook',
    'RearrangeHook',
    'ReproducibleHook',
    'RouterHook',
    'SupernetMetaHook',
    'TeacherHook',
]
