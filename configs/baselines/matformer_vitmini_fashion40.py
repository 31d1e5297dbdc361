# MatFormer on Fashion-40: an eighth, a quarter, half and all of the FFN, the
# same in all layers, all four in a step. At use each layer may have its own
# (Mix'n'Match): the space that is searched; the uniform ones need no search.
_base_ = ['../eavit/vitmini_fashion40.py']

model = dict(
    backbone=dict(
        space=dict(
            _delete_=True,
            embed_dims=[96],
            num_heads=[6],
            feedforward_channels=[48, 96, 192, 384],
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
