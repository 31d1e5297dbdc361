# EA-ViT's stage 1 for segmentation: mmseg's recipe with the curriculum at the
# same shares of the training as in the release (eavit/vitb_flowers.py).
_base_ = ['./schedules/adamw_seg_80k.py', './elastic_seg_runtime.py']

env_cfg = dict(float32_matmul_precision='high')
default_hooks = dict(
    checkpoint=dict(
        by_epoch=False, interval=8000, max_keep_ckpts=2, save_best='auc'
    )
)
custom_hooks = [
    dict(
        type='eavit_mm.RearrangeHook',
        criterion=dict(type='eavit_mm.ActivationCriterion'),
    ),
    dict(
        type='eavit_mm.CurriculumHook',
        by_epoch=False,
        levels=[
            dict(begin=0),
            dict(begin=0.1, embed_dims=704, num_heads=11),
            dict(
                begin=0.15,
                embed_dims=640,
                num_heads=10,
                feedforward_channels=2304,
            ),
            dict(begin=0.2, embed_dims=576, num_heads=9),
            dict(
                begin=0.25,
                embed_dims=512,
                num_heads=8,
                feedforward_channels=1536,
            ),
            dict(
                begin=0.3,
                embed_dims=448,
                num_heads=7,
                feedforward_channels=768,
            ),
            dict(
                begin=0.35,
                embed_dims=384,
                num_heads=6,
                feedforward_channels=384,
                max_off=2,
                p_off=0.3,
            ),
        ],
    ),
]
