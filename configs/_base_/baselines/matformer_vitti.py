# MatFormer: an eighth, a quarter, half and all of the FFN, all four in a step;
# at use each layer may have its own.
_base_ = ['../models/elastic_vitti.py', '../schedules/adamw_vitti.py']

model = dict(
    backbone=dict(
        space=dict(
            _delete_=True,
            embed_dims=[192],
            num_heads=[3],
            feedforward_channels=[96, 192, 384, 768],
        )
    ),
    sampler=dict(
        _delete_=True,
        type='eavit_mm.FixedListSampler',
        subnets=[1 / 8, 1 / 4, 1 / 2, 1.0],
        num=None,
    ),
    same_dropout=True,
)
custom_hooks = []
