# mmseg's recipe for ViTs with UPerNet: AdamW, batch 16 on 8 GPUs, 80,000
# iterations, 1,500 of warm-up, linear decay to the end, whatever the length.
optim_wrapper = dict(
    # On a GPU in bfloat16, as eavit_100e.py.
    type='AmpOptimWrapper',
    dtype='bfloat16',
    loss_scale=dict(enabled=False),
    optimizer=dict(type='AdamW', lr=6e-5, weight_decay=0.01),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys=dict(
            pos_embed=dict(decay_mult=0.0),
            cls_token=dict(decay_mult=0.0),
            router=dict(lr_mult=16.0, decay_mult=0.0),  # 1e-3, in stage 2
        ),
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=1500, by_epoch=False),
]
# Of stage 2: 1,000 iterations of the router alone, with 50 of warm-up, then
# those of the network.
stage2_schedule = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, end=50),
    dict(
        type='LinearLR',
        start_factor=1e-6,
        by_epoch=False,
        begin=1000,
        end=2500,
    ),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=2500, by_epoch=False),
]
train_cfg = dict(by_epoch=False, max_iters=80000, val_interval=8000)
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(base_batch_size=16)
