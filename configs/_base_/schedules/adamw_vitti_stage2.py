# EA-ViT's stage 2: cheap steps, and therefore many. With stage 1 it costs
# about as much as 38,400 images through the whole network.
_base_ = ['./adamw_vitti.py']

max_iters = 1700
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, end=60),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        begin=60,
        end=max_iters,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=0.05)]
