# ViT-mini as a supernet: widths in steps of a head, an eighth of the FFN.
_base_ = ['./vitmini.py']

model = dict(
    type='eavit_mm.ElasticImageClassifier',
    backbone=dict(
        type='eavit_mm.ElasticVisionTransformer',
        space=dict(
            embed_dims=[32, 48, 64, 80, 96],
            num_heads=[1, 2, 3, 4, 5, 6],
            feedforward_channels=[48, 96, 144, 192, 240, 288, 336, 384],
            max_off=2,
        ),
    ),
    sampler=dict(type='eavit_mm.StratifiedSampler'),
)
