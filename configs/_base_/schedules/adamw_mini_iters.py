# AdamW with warm-up and cosine decay, counted in iterations: schedules of the
# same length on data sets of any size.
max_iters = 10000
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, end=500),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        begin=500,
        end=max_iters,
        by_epoch=False,
    ),
]
train_cfg = dict(by_epoch=False, max_iters=max_iters, val_interval=max_iters)
log_processor = dict(by_epoch=False)
