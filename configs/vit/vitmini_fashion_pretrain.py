# Pretrains the dense ViT-mini on 30,000 of Fashion-MNIST's training images.
# vitmini_fashion.pth beside this is the state dict of its last epoch.
_base_ = [
    '../_base_/models/vitmini.py',
    '../_base_/datasets/fashion.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(drop_path_rate=0.05))

max_epochs = 20
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-2,
        by_epoch=True,
        end=2,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        begin=2,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=5)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=1))
