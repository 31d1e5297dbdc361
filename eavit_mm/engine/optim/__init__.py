"""Optimizer wrappers that mmengine lacks."""

from .cpu_amp import CpuAmpOptimWrapper

__all__ = ['CpuAmpOptimWrapper']
