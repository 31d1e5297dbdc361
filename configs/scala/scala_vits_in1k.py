# Scala's ViT-S/16: 100 epochs, RandAugment of magnitude 1, 2e-3 for each 512
# of the images of a step: 4 GPUs with 256.
_base_ = ['./scala_vitb_in1k.py']

model = dict(
    backbone=dict(
        arch='deit-small',
        space=dict(
            embed_dims=list(range(96, 385, 24)),
            num_heads=[6],
            feedforward_channels=list(range(384, 1537, 96)),
        ),
    ),
    head=dict(in_channels=384),
)
train_dataloader = dict(
    batch_size=256,
    dataset=dict(
        pipeline=[
            {**step, 'magnitude_level': 1}
            if step['type'] == 'RandAugment'
            else step
            for step in _base_.train_pipeline
        ]
    ),
)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        end=3,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        begin=3,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=1024)
custom_hooks = [
    dict(type='EMAHook', momentum=4e-5, priority='ABOVE_NORMAL'),
    dict(
        type='eavit_mm.CurriculumHook',
        levels=[
            dict(begin=0),
            dict(
                begin=10,
                embed_dims=96,
                head_dims=16,
                feedforward_channels=384,
            ),
        ],
    ),
]
