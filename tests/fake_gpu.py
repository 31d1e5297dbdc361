"""A GPU that is not there: tensors with a shape, a type and a device alone.

Two devices in one operation are an error, as on a GPU. What makes the host
wait for it is counted: numbers that are read, and copies that are waited for.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_stack
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from eavit_mm.models.gates import _expansion

_ATEN = torch.ops.aten
_PACKAGES = ('eavit_mm', 'mmpretrain', 'mmseg', 'mmengine')


class Waits(TorchDispatchMode):
    """Counts what waits, by the last part of the module that asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[str] = Counter()

    def note(self) -> None:
        for frame, _ in walk_stack(None):
            package, *parts = frame.f_globals['__name__'].split('.')
            if package in _PACKAGES:
                self.places[parts[-1]] += 1
                return

    def read_all(self, tensor: Tensor) -> Any:
        """Ones; the ``tolist`` of fake tensors reads number by number."""
        if tensor.is_cuda:
            self.note()
        return np.ones(tensor.shape, int).tolist()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is _ATEN._local_scalar_dense.default:
            self.read_all(args[0])
            return 1
        out = func(*args, **kwargs)
        if func in (_ATEN._to_copy.default, _ATEN.copy_.default):
            tensors = filter(torch.is_tensor, tree_leaves((args, out)))
            is_between = len({tensor.is_cuda for tensor in tensors}) > 1
            is_async = kwargs.get('non_blocking') or args[2:] == (True,)
            if is_between and not (is_async and out.is_cuda):
                self.note()
        return out


@contextmanager
def fake_gpu(*modules: nn.Module) -> Iterator[Waits]:
    """Moves parameters and buffers, as ``Module.to`` does; and no more."""

    def moved(old: Tensor) -> Tensor:
        shape = old.shape, old.stride()
        new = torch.empty_strided(*shape, dtype=old.dtype, device='cuda')
        return nn.Parameter(new) if isinstance(old, nn.Parameter) else new

    common = torch.cuda.amp.common
    _expansion.cache_clear()  # keeps indices for a device
    with (
        pytest.MonkeyPatch.context() as patch,
        FakeTensorMode(allow_non_fake_inputs=True),
        Waits() as waits,
    ):
        # Autocast asks for a real one.
        patch.setattr(common, 'amp_definitely_not_available', lambda: False)
        patch.setattr(torch.cuda, 'is_bf16_supported', lambda: True)
        patch.setattr(FakeTensor, 'tolist', lambda t: waits.read_all(t))
        for module in (part for whole in modules for part in whole.modules()):
            for group in (module._parameters, module._buffers):
                found = [(n, t) for n, t in group.items() if t is not None]
                group.update({name: moved(old) for name, old in found})
            if hasattr(module, '_device'):  # a data preprocessor's
                module._device = torch.device('cuda')
        yield waits
    _expansion.cache_clear()
