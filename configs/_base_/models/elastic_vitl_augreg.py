# ViT-L/16 at 224 px in place of elastic_vitb_augreg.py, from augreg's weights
# of ImageNet-21k. Box and bounds have the shares of ViT-B's.
_base_ = ['./elastic_vitb_augreg.py']

model = dict(
    backbone=dict(
        arch='large',
        init_cfg=dict(checkpoint='checkpoints/vit-large-p16_in21k.pth'),
        space=dict(
            embed_dims=[512, 576, 640, 704, 768, 832, 896, 960, 1024],
            num_heads=[8, 9, 10, 11, 12, 13, 14, 15, 16],
            feedforward_channels=[
                512,
                1024,
                1536,
                2048,
                2560,
                3072,
                3584,
                4096,
            ],
        ),
    ),
    head=dict(in_channels=1024),
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
        (10, 960, 15, 4096),
        (15, 832, 13, 3072),
        (20, 768, 12, 3072),
        (25, 704, 11, 2048),
        (30, 576, 9, 1024),
        (35, 512, 8, 512),
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
