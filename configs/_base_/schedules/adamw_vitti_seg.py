# Stage 1 of a ViT-Ti on a few hundred images, in minutes of a CPU, and the
# runtime that it needs. Stage 2 is three times as long: it trains the networks
# that will be asked for.
_base_ = ['../elastic_seg_runtime.py']

max_iters = 1000
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys=dict(
            pos_embed=dict(decay_mult=0.0),
            cls_token=dict(decay_mult=0.0),
            # New here, unlike the backbone.
            neck=dict(lr_mult=5.0),
            decode_head=dict(lr_mult=5.0),
            router=dict(lr_mult=1.0, decay_mult=0.0),
        ),
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, end=30),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        begin=30,
        end=max_iters,
        by_epoch=False,
    ),
]
train_cfg = dict(by_epoch=False, max_iters=max_iters, val_interval=max_iters)
log_processor = dict(by_epoch=False)
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
            dict(begin=0.05, num_heads=2, feedforward_channels=480),
            dict(begin=0.1, num_heads=1, feedforward_channels=96),
        ],
    ),
]
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=250, max_keep_ckpts=1)
)
search_cfg = dict(max_evaluations=200)
