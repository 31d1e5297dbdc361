# Stage 2; tools/adapt.py runs this config, all stages of it.
_base_ = ['./vitti_pets.py']

stage1 = '{{fileDirname}}/vitti_pets.py'  # trained and searched before

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.RouterHead',
        front='work_dirs/vitti_pets_stage2/search/pareto.json',
        part='backbone',
        highest=2.4,  # two of five steps at the largest subnet
        skew=2.0,
        gated_every=5,
    ),
)
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
load_from = 'work_dirs/vitti_pets_stage2/stage1/iter_1000.pth'
