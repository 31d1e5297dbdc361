"""What the host libraries need to work together on the pinned stack."""

from .mmcv_ops import install_mmcv_stand_in
from .safe_globals import allow_mmengine_globals

__all__ = ['allow_mmengine_globals', 'install_mmcv_stand_in']
