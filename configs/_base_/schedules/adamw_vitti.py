# A stage of a ViT-Ti at 64 px in minutes of a CPU: 38,400 images, whatever the
# data set, and the runtime that it needs.
_base_ = ['../elastic_runtime.py']

max_iters = 1200
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=3e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys=dict(
            pos_embed=dict(decay_mult=0.0),
            cls_token=dict(decay_mult=0.0),
            head=dict(lr_mult=15.0),  # new here, unlike the backbone
            router=dict(lr_mult=1.0, decay_mult=0.0),
        ),
    ),
)
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
train_cfg = dict(by_epoch=False, max_iters=max_iters, val_interval=max_iters)
log_processor = dict(by_epoch=False)
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=600, max_keep_ckpts=1)
)
search_cfg = dict(max_evaluations=100)
