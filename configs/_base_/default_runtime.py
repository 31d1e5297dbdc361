# What every config of eavit_mm shares; mmpretrain's runtime underneath.
_base_ = ['mmpretrain::_base_/default_runtime.py']

# The host tools must import us before they load a checkpoint or mmseg.
custom_imports = dict(imports=['eavit_mm'])

randomness = dict(seed=0)
