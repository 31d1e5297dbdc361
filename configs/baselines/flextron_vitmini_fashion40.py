# Flextron on Fashion-40, phase 1: heads and FFN of each layer at random, the
# embedding whole; units sorted by importance, no curriculum.
_base_ = ['../eavit/vitmini_fashion40.py']

model = dict(
    backbone=dict(space=dict(embed_dims=[96], max_off=0)),
    sampler=dict(_delete_=True, type='eavit_mm.UniformSampler'),
)
custom_hooks = [
    dict(
        type='eavit_mm.RearrangeHook',
        criterion=dict(type='eavit_mm.ActivationCriterion'),
    ),
]
