# ViT-Ti/16 at 224 px in place of elastic_vitb_augreg.py, from augreg's weights
# of ImageNet-21k. Box and bounds have the shares of ViT-B's.
_base_ = ['./elastic_vitb_augreg.py']

model = dict(
    backbone=dict(
        arch='deit-tiny',
        init_cfg=dict(checkpoint='checkpoints/vit-tiny-p16_in21k.pth'),
        space=dict(
            embed_dims=[96, 112, 128, 144, 160, 176, 192],
            num_heads=[2, 3],
            feedforward_channels=[96, 192, 288, 384, 480, 576, 672, 768],
        ),
    ),
    head=dict(in_channels=192),
)
bounds = [
    dict(
        begin=begin,
        embed_dims=E,
        num_heads=H,
        feedforward_channels=F,
        max_off=2 * (begin == 35),
        p_off=0.3 * (begin == 35),
    )
    for begin, E, H, F in (
        (10, 176, 3, 768),
        (15, 160, 3, 576),
        (20, 144, 3, 576),
        (25, 128, 2, 384),
        (30, 112, 2, 192),
        (35, 96, 2, 96),
    )
]
custom_hooks = [
    dict(
        type='eavit_mm.RearrangeHook',
        criterion=dict(type='eavit_mm.ActivationCriterion'),
    ),
    dict(
        type='eavit_mm.CurriculumHook',
        levels=[dict(begin=0), *bounds],
    ),
]
del bounds
