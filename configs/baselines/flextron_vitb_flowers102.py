# Flextron on Flowers-102, phase 1: heads and FFN of each layer at random, the
# embedding whole.
_base_ = ['../eavit/vitb_flowers.py']

model = dict(backbone=dict(space=dict(embed_dims=[768], max_off=0)))
custom_hooks = [
    dict(
        type='eavit_mm.RearrangeHook',
        criterion=dict(type='eavit_mm.ActivationCriterion'),
    ),
]
