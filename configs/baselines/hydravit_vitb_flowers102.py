# HydraViT on Flowers-102: k heads, E = 64 k, FFN = 256 k, k in 3..12, one at
# random in a step. It was made to train from scratch (300 epochs of DeiT's
# recipe); here it starts from the same weights as the others.
_base_ = ['../eavit/vitb_flowers.py']

heads = list(range(3, 13))
model = dict(
    backbone=dict(
        space=dict(
            _delete_=True,
            embed_dims=[64 * k for k in heads],
            num_heads=heads,
            feedforward_channels=[256 * k for k in heads],
            ties=[['embed_dims', 'num_heads', 'feedforward_channels']],
        )
    ),
    sampler=dict(
        _delete_=True,
        type='eavit_mm.FixedListSampler',
        subnets=[k / 12 for k in heads],
    ),
)
custom_hooks = []
