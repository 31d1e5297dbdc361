"""Mixed precision without a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from eavit_mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """``OptimWrapper`` whose forward runs in bfloat16 on the CPU.

    mmengine's ``AmpOptimWrapper`` needs a GPU; bfloat16 needs no scaling of
    the loss.

    Example:
        >>> optim_wrapper = dict(type='eavit_mm.CpuAmpOptimWrapper',
        ...                      optimizer=dict(type='AdamW', lr=1e-4))
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Adds autocast to the context of the stock wrapper."""
        with (
            super().optim_context(model),
            torch.autocast('cpu', torch.bfloat16),
            # The backward pass of the fused kernel is slow in bfloat16: three
            # times as long at 17 tokens, as long at 197.
            sdpa_kernel(SDPBackend.MATH),
        ):
            yield
