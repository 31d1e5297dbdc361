# HydraViT on Fashion-40: k heads, E = 16 k, FFN = 64 k, k in 2..6, one of the
# five at random in a step; units stay in their order, no curriculum.
_base_ = ['../eavit/vitmini_fashion40.py']

heads = [2, 3, 4, 5, 6]
model = dict(
    backbone=dict(
        space=dict(
            _delete_=True,
            embed_dims=[32, 48, 64, 80, 96],
            num_heads=heads,
            feedforward_channels=[128, 192, 256, 320, 384],
            ties=[['embed_dims', 'num_heads', 'feedforward_channels']],
        )
    ),
    sampler=dict(
        _delete_=True,
        type='eavit_mm.FixedListSampler',
        subnets=[k / 6 for k in heads],
    ),
)
custom_hooks = []
