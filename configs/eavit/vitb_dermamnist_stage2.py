# EA-ViT stage 2: the router alone for 1,000 steps, then 100 epochs together
# with the network. tools/adapt.py runs this config and all that comes before.
_base_ = ['./vitb_dermamnist.py']

stage1 = '{{fileDirname}}/vitb_dermamnist.py'  # trained and searched before

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.RouterHead',
        front='work_dirs/vitb_dermamnist_stage2/search/pareto.json',
    ),
)
# 7,007 images in batches of 256: 28 steps an epoch. A share of them, for
# folders of fewer images.
train_cfg = dict(max_epochs=136)
by_epoch = dict(by_epoch=True, convert_to_iter_based=True)
param_scheduler = [  # of the 100 epochs; the router alone has a constant rate
    dict(type='LinearLR', start_factor=1e-3, begin=36, end=41, **by_epoch),
    dict(type='CosineAnnealingLR', eta_min=1e-7, begin=41, **by_epoch),
]
del by_epoch
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=1000 / (136 * 28))]
load_from = 'work_dirs/vitb_dermamnist_stage2/stage1/epoch_100.pth'
