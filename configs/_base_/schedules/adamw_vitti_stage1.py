# EA-ViT's stage 1, short: most of the training is that of the router's
# subnets.
_base_ = ['./adamw_vitti.py']

max_iters = 440
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
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
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
            dict(begin=0.1, num_heads=2, feedforward_channels=384),
            dict(begin=0.2, num_heads=1, feedforward_channels=32),
        ],
    ),
]
default_hooks = dict(checkpoint=dict(interval=max_iters))
search_cfg = dict(race=[0.0625, 0.125, 0.25, 0.5])
