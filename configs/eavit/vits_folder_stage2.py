# EA-ViT stage 2: the router alone for 10 epochs, then 100 together with the
# network. tools/adapt.py runs this config and all that comes before.
_base_ = ['./vits_folder.py']

stage1 = '{{fileDirname}}/vits_folder.py'  # trained and searched before

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.RouterHead',
        front='work_dirs/vits_folder_stage2/search/pareto.json',
    ),
)
train_cfg = dict(max_epochs=110)
by_epoch = dict(by_epoch=True, convert_to_iter_based=True)
param_scheduler = [  # of the 100 epochs; the router alone has a constant rate
    dict(type='LinearLR', start_factor=1e-3, begin=10, end=15, **by_epoch),
    dict(type='CosineAnnealingLR', eta_min=1e-7, begin=15, **by_epoch),
]
del by_epoch
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=10 / 110)]
load_from = 'work_dirs/vits_folder_stage2/stage1/epoch_100.pth'
