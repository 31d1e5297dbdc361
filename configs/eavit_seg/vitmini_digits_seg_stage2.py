# The demo's stage 2; tools/adapt.py runs this config, all stages of it.
_base_ = ['./vitmini_digits_seg.py']

stage1 = '{{fileDirname}}/vitmini_digits_seg.py'  # trained and searched before

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.RouterHead',
        front='work_dirs/vitmini_digits_seg_stage2/search/pareto.json',
        gated_every=5,
        skew=2.0,
    ),
)
optim_wrapper = dict(
    optimizer=dict(lr=3e-4),
    paramwise_cfg=dict(custom_keys={'router': dict(decay_mult=0.0)}),
)
train_cfg = dict(max_epochs=3, val_interval=3)
default_hooks = dict(checkpoint=dict(interval=1))
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=0.1)]
load_from = 'work_dirs/vitmini_digits_seg_stage2/stage1/epoch_8.pth'
