# ViT-S/16 at 224 px in place of elastic_vitb_augreg.py, from augreg's weights
# of ImageNet-21k. Box and bounds have the shares of ViT-B's.
_base_ = ['./elastic_vitb_augreg.py']

model = dict(
    backbone=dict(
        arch='deit-small',
        init_cfg=dict(checkpoint='checkpoints/vit-small-p16_in21k.pth'),
        space=dict(
            embed_dims=[192, 224, 256, 288, 320, 352, 384],
            num_heads=[3, 4, 5, 6],
            feedforward_channels=[192, 384, 576, 768, 960, 1152, 1344, 1536],
        ),
    ),
    head=dict(in_channels=384),
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
        (10, 352, 6, 1536),
        (15, 320, 5, 1152),
        (20, 288, 5, 1152),
        (25, 256, 4, 768),
        (30, 224, 4, 384),
        (35, 192, 3, 192),
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
