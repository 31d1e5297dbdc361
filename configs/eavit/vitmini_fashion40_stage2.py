# Stage 2: the router and the supernet together. tools/adapt.py runs all that
# comes before as well; tools/train.py needs it, with
#   --cfg-options load_from=CHECKPOINT model.router.front=PARETO_JSON
_base_ = ['./vitmini_fashion40.py']

stage1 = '{{fileDirname}}/vitmini_fashion40.py'  # trained and searched before

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.RouterHead',
        front='work_dirs/vitmini_fashion40_stage2/search/pareto.json',
        gated_every=5,
        skew=2.0,
    ),
)
max_iters = 6000
optim_wrapper = dict(
    optimizer=dict(lr=2e-3),
    paramwise_cfg=dict(
        # A router that moves fast leaves behind what the network has learnt.
        custom_keys={'router': dict(lr_mult=0.05, decay_mult=0.0)}
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=False, end=50),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        begin=50,
        end=max_iters,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=100)]
load_from = 'work_dirs/vitmini_fashion40_stage2/stage1/iter_10000.pth'
