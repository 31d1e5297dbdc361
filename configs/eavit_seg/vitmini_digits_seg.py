# The demo of segmentation: the pretrained ViT-mini becomes an elastic
# segmentor of handwritten digits on textures.
_base_ = [
    '../_base_/models/elastic_vitmini_pup.py',
    '../_base_/datasets/digits_canvases.py',
    '../_base_/schedules/adamw_mini.py',
    '../_base_/elastic_seg_runtime.py',
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

optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-2,
        by_epoch=True,
        end=1,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        begin=1,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=8, val_interval=4)
default_hooks = dict(checkpoint=dict(interval=4, max_keep_ckpts=1))
search_cfg = dict(max_evaluations=120)
