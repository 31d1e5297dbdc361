# Flextron, phase 1: heads and FFN of each layer at random, embedding whole.
_base_ = ['../models/elastic_vitti.py', '../schedules/adamw_vitti.py']

model = dict(
    backbone=dict(
        space=dict(
            embed_dims=[192],
            feedforward_channels=list(range(96, 769, 96)),
            max_off=0,
        )
    ),
    sampler=dict(_delete_=True, type='eavit_mm.UniformSampler'),
)
custom_hooks = [
    dict(
        type='eavit_mm.RearrangeHook',
        criterion=dict(type='eavit_mm.ActivationCriterion'),
    ),
]
