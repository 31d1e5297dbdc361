# The offline benchmark's task: the pretrained ViT-mini on Fashion-40, for the
# MACs of one dense fine-tune of 300,000 image passes.
_base_ = [
    '../_base_/models/elastic_vitmini.py',
    '../_base_/datasets/fashion40.py',
    '../_base_/schedules/adamw_mini_iters.py',
    '../_base_/elastic_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='{{fileDirname}}/../vit/vitmini_fashion.pth',
            prefix='backbone.',
        )
    ),
    head=dict(num_classes=40),
    sampler=dict(
        _delete_=True,
        type='eavit_mm.MixedSampler',
        samplers=[
            dict(type='eavit_mm.SharedSampler'),
            dict(type='eavit_mm.LadderSampler', p_jitter=0.0),
        ],
    ),
)
train_dataloader = dict(batch_size=64, sampler=dict(type='InfiniteSampler'))
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=1000, max_keep_ckpts=1)
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
            dict(
                begin=300,
                embed_dims=64,
                num_heads=4,
                feedforward_channels=192,
            ),
            dict(
                begin=900,
                embed_dims=32,
                num_heads=1,
                feedforward_channels=48,
                max_off=2,
                p_off=0.05,
            ),
        ],
    ),
]
