# HydraViT: k heads, E = 64 k, FFN = 256 k, k in 1..3, one at random in a step.
_base_ = ['../models/elastic_vitti.py', '../schedules/adamw_vitti.py']

heads = [1, 2, 3]
model = dict(
    backbone=dict(
        space=dict(
            _delete_=True,
            embed_dims=[64, 128, 192],
            num_heads=heads,
            feedforward_channels=[256, 512, 768],
            ties=[['embed_dims', 'num_heads', 'feedforward_channels']],
        )
    ),
    sampler=dict(
        _delete_=True,
        type='eavit_mm.FixedListSampler',
        subnets=[k / 3 for k in heads],
    ),
)
custom_hooks = []
