# MatFormer on Flowers-102: an eighth, a quarter, half and all of the FFN, all
# four in a step; at use each layer may have its own.
_base_ = ['../eavit/vitb_flowers.py']

model = dict(
    backbone=dict(
        space=dict(
            _delete_=True,
            embed_dims=[768],
            num_heads=[12],
            feedforward_channels=[384, 768, 1536, 3072],
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
