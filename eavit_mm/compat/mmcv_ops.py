"""A stand-in for mmcv's compiled ops, which mmseg imports but we never call.

mmcv-lite ships ``mmcv/ops/*.py`` without the extension ``mmcv._ext`` that
they load at import. Where the extension is missing, a module of the same
name takes its place, so that mmseg can be imported; calling an op raises.
"""

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NoReturn

EXTENSION = 'mmcv._ext'


class _MissingOps(ModuleType):
    """Has every attribute an op could have; each raises when called."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*args: Any, **kwargs: Any) -> NoReturn:
            raise ImportError(
                f"mmcv op '{name}' is not compiled here; install the full "
                'mmcv: `make env MMCV=full` (mmcv-lite has no compiled ops)'
            )

        return missing


def install_mmcv_stand_in() -> bool:
    """Puts the stand-in into ``sys.modules`` if the ops are not compiled.

    Returns:
        Whether the stand-in is now in place. False with the full mmcv.

    Raises:
        ImportError: If no mmcv is installed at all.
    """
    if EXTENSION in sys.modules:
        return isinstance(sys.modules[EXTENSION], _MissingOps)
    try:
        compiled = find_spec(EXTENSION) is not None
    except ModuleNotFoundError as error:
        raise ImportError(
            'eavit_mm needs mmcv: `pip install mmcv-lite==2.1.0` (or the '
            'full mmcv 2.1.0, for ops that eavit_mm itself never calls)'
        ) from error
    if not compiled:
        stand_in = _MissingOps(EXTENSION)
        # A spec without a loader: mmcv then reports the ops as missing.
        stand_in.__spec__ = ModuleSpec(EXTENSION, loader=None)
        sys.modules[EXTENSION] = stand_in
    return not compiled
