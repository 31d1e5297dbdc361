# The pretrained ViT-mini becomes an elastic segmentor of clothes on textures.
_base_ = [
    '../_base_/models/elastic_vitmini_pup.py',
    '../_base_/datasets/fashion_canvases.py',
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
train_cfg = dict(max_epochs=20, val_interval=10)
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=1))
