# The demo: the pretrained ViT-mini becomes elastic on handwritten digits.
_base_ = [
    '../_base_/models/elastic_vitmini.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/adamw_mini.py',
    '../_base_/elastic_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='{{fileDirname}}/../vit/vitmini_fashion.pth',
            prefix='backbone.',
        )
    )
)

default_hooks = dict(checkpoint=dict(interval=20, max_keep_ckpts=1))
custom_hooks = [
    dict(
        type='eavit_mm.RearrangeHook',
        criterion=dict(type='eavit_mm.ActivationCriterion'),
    ),
    dict(
        type='eavit_mm.CurriculumHook',
        levels=[
            dict(begin=0),
            dict(
                begin=4, embed_dims=64, num_heads=4, feedforward_channels=192
            ),
            dict(
                begin=8,
                embed_dims=32,
                num_heads=1,
                feedforward_channels=48,
                max_off=2,
                p_off=0.3,
            ),
        ],
    ),
]
