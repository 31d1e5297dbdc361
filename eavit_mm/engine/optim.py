"""Mixed precision without a GPU."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from eavit_mm.registry import OPTIM_WRAPPERS


def computes_bfloat16() -> bool:
    """Whether this CPU has instructions that bfloat16 is computed with."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """``OptimWrapper`` whose forward runs in bfloat16 on the CPU.

    mmengine's ``AmpOptimWrapper`` needs a GPU; bfloat16 needs no scaling of
    the loss. A CPU that has no instructions for it takes 14 times as long as
    in float32 (ViT-Ti, 17 tokens): there the forward stays in float32.

    Example:
        >>> optim_wrapper = dict(type='eavit_mm.CpuAmpOptimWrapper',
        ...                      optimizer=dict(type='AdamW', lr=1e-4))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_low = computes_bfloat16()
        if not self.is_low:
            print_log(
                'CpuAmpOptimWrapper: this CPU has no instructions for '
                'bfloat16; the training computes in float32',
                'current',
                logging.WARNING,
            )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Adds autocast to the context of the stock wrapper."""
        if not self.is_low:
            with super().optim_context(model):
                yield
            return
        with (
            super().optim_context(model),
            torch.autocast('cpu', torch.bfloat16),
            # The backward pass of the fused kernel is slow in bfloat16: three
            # times as long at 17 tokens, as long at 197.
            sdpa_kernel(SDPBackend.MATH),
        ):
            yield
