"""Elastic Vision Transformers for OpenMMLab.

Importing the package only makes the host libraries usable on the pinned
stack (see :mod:`eavit_mm.compat`); every class is found lazily through its
registry as ``eavit_mm.<Name>``.
"""

from eavit_mm.compat import allow_mmengine_globals, install_mmcv_stand_in
from eavit_mm.version import __version__

install_mmcv_stand_in()
allow_mmengine_globals()

__all__ = ['__version__']
