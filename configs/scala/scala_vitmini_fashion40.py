# Scala on Fashion-40 from random weights: X = 13 widths, the whole network
# alone in the first tenth, four networks a step behind it, no clipping.
_base_ = [
    '../_base_/models/scala_vitmini.py',
    '../_base_/datasets/fashion40.py',
    '../_base_/schedules/adamw_mini_iters.py',
    '../_base_/scala_runtime.py',
]

model = dict(head=dict(num_classes=40))
train_dataloader = dict(batch_size=64, sampler=dict(type='InfiniteSampler'))
optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=None)
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=1000, max_keep_ckpts=1)
)
custom_hooks = [
    dict(
        type='eavit_mm.CurriculumHook',
        by_epoch=False,
        levels=[
            dict(begin=0),
            dict(
                begin=1000,
                embed_dims=24,
                head_dims=4,
                feedforward_channels=96,
            ),
        ],
    ),
]
