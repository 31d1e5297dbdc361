# Scala's ViT-B/16 on ImageNet-1k from random weights: 4 GPUs with 128 images.
_base_ = [
    '../_base_/models/scala_vitb.py',
    '../_base_/datasets/imagenet_search.py',
    '../_base_/schedules/scala_300e.py',
    '../_base_/scala_runtime.py',
]

train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        pipeline=[
            {**step, 'magnitude_level': 4}
            if step['type'] == 'RandAugment'
            else step
            for step in _base_.train_pipeline
        ]
    ),
)
env_cfg = dict(float32_matmul_precision='high')
default_hooks = dict(
    checkpoint=dict(interval=10, max_keep_ckpts=3, save_best='auc')
)
custom_hooks = [
    dict(type='EMAHook', momentum=4e-5, priority='ABOVE_NORMAL'),
    # The whole network alone in the first ten epochs.
    dict(
        type='eavit_mm.CurriculumHook',
        levels=[
            dict(begin=0),
            dict(
                begin=10,
                embed_dims=192,
                head_dims=16,
                feedforward_channels=768,
            ),
        ],
    ),
]
