"""Lets ``torch.load(weights_only=True)`` read mmengine's checkpoints.

mmengine 0.10 stores its message hub, whose values are ``HistoryBuffer``
objects over numpy arrays. torch >= 2.6 refuses them. We allow exactly the
types that such a checkpoint holds; nothing in it can run code.
"""

from importlib import import_module
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_STATISTICS = ('min', 'max', 'mean', 'current')


def _history_buffer_statistic(owner: Any, name: str) -> Any:
    """``getattr`` as mmengine's pickles call it, and for nothing else.

    Raises:
        ValueError: If anything but a statistic of ``HistoryBuffer`` is asked.
    """
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise ValueError(
            f'this checkpoint asks for {owner!r}.{name}; only '
            f'HistoryBuffer.{{{",".join(_STATISTICS)}}} may be read'
        )
    return getattr(owner, name)


def allow_mmengine_globals() -> None:
    """Adds the types of mmengine's checkpoints to torch's allow-list."""
    core = import_module('numpy._core.multiarray')
    allowed: list[Any] = [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        (_history_buffer_statistic, 'builtins.getattr'),
    ]
    # numpy 2 writes `numpy._core`, numpy 1 wrote `numpy.core`.
    for module in ('numpy._core.multiarray', 'numpy.core.multiarray'):
        allowed += [
            (core._reconstruct, f'{module}._reconstruct'),
            (core.scalar, f'{module}.scalar'),
        ]
    allowed += [
        type(np.dtype(kind))
        for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)
    ]
    torch.serialization.add_safe_globals(allowed)
