# EA-ViT stage 2: the router alone for 1,000 steps, then 100 epochs together
# with the network. tools/adapt.py runs this config and all that comes before.
_base_ = ['./vits_cifar10.py']

stage1 = '{{fileDirname}}/vits_cifar10.py'  # trained and searched before

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.RouterHead',
        front='work_dirs/vits_cifar10_stage2/search/pareto.json',
    ),
)
# 48,000 images in batches of 256: 188 steps an epoch. A share of them, for
# folders of fewer images.
train_cfg = dict(max_epochs=106)
by_epoch = dict(by_epoch=True, convert_to_iter_based=True)
param_scheduler = [  # of the 100 epochs; the router alone has a constant rate
    dict(type='LinearLR', start_factor=1e-3, begin=6, end=11, **by_epoch),
    dict(type='CosineAnnealingLR', eta_min=1e-7, begin=11, **by_epoch),
]
del by_epoch
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=1000 / (106 * 188))]
load_from = 'work_dirs/vits_cifar10_stage2/stage1/epoch_100.pth'
