# EA-ViT's released recipe: AdamW, batch 256, 100 epochs, 5 of warm-up.
optim_wrapper = dict(
    # On a GPU in bfloat16: half of the memory traffic, and tensor cores. It
    # has the range of float32, so that no loss is scaled. Without a GPU
    # tools/train.py takes float32, or with --amp bfloat16.
    type='AmpOptimWrapper',
    dtype='bfloat16',
    loss_scale=dict(enabled=False),
    optimizer=dict(type='AdamW', lr=1e-5, weight_decay=0.05),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-7,
        begin=5,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=5)
auto_scale_lr = dict(base_batch_size=256)
