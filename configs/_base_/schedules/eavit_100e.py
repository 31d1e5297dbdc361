# EA-ViT's released recipe: AdamW, batch 256, 100 epochs, 5 of warm-up. Ours
# differs in what it does not train alike: each layer draws its own widths, as
# in the paper (the release draws one for all), up to two branches are off from
# the last level on (one layer in twelve steps, from the first epoch on), FFNs
# are as wide as their channels say (a ratio of the open embedding there), the
# router learns at 1e-3 (1e-2), the search evaluates 400 subnets on held-out
# images (301 generations of about 100, on one training batch), budgets are
# drawn as docs/router.md says (evenly from 0.2 to 1.1), and the test images
# are not looked at before the end (every two epochs).
_base_ = ['../elastic_runtime.py']

optim_wrapper = dict(
    # On a GPU in bfloat16: half of the memory traffic, and tensor cores. It
    # has the range of float32, so that no loss is scaled. Without a GPU
    # tools/train.py takes float32, or with --amp bfloat16.
    type='AmpOptimWrapper',
    dtype='bfloat16',
    loss_scale=dict(enabled=False),
    optimizer=dict(type='AdamW', lr=1e-5, weight_decay=0.01),
    # Stage 2 alone has a router.
    paramwise_cfg=dict(
        custom_keys={'router': dict(lr_mult=100.0, decay_mult=0.0)}
    ),
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
# What is left in float32 on a GPU, validation and search, multiplies in TF32:
# several times faster, right to 10 bits, which hardly any label depends on.
env_cfg = dict(float32_matmul_precision='high')
default_hooks = dict(
    checkpoint=dict(interval=5, max_keep_ckpts=3, save_best='auc')
)
