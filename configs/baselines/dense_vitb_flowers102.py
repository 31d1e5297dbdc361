# The whole ViT-B alone on Flowers-102: control, and DynaBERT's first teacher.
_base_ = ['../eavit/vitb_flowers.py']

model = dict(sampler=dict(type='eavit_mm.LargestSampler'))
custom_hooks = []
