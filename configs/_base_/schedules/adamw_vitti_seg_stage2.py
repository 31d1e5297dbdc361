# EA-ViT's stage 2 of a segmentor: the router's subnets, and the whole network
# in two of five steps.
_base_ = ['./adamw_vitti_seg.py']

max_iters = 3000
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, end=100),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        begin=100,
        end=max_iters,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=0.05)]
