# Stage 2; tools/adapt.py runs this config, all stages of it.
_base_ = ['./vitti_dtd10.py']

stage1 = '{{fileDirname}}/vitti_dtd10.py'  # trained and searched before

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.RouterHead',
        front='work_dirs/vitti_dtd10_stage2/search/pareto.json',
        gated_every=5,
    ),
)
optim_wrapper = dict(optimizer=dict(lr=4e-4))
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=0.1)]
load_from = 'work_dirs/vitti_dtd10_stage2/stage1/iter_600.pth'
