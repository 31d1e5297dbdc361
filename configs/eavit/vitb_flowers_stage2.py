# EA-ViT stage 2: the router alone for 1,000 steps, then 100 epochs together
# with the network. tools/adapt.py runs this config and all that comes before.
_base_ = ['./vitb_flowers.py']

stage1 = '{{fileDirname}}/vitb_flowers.py'  # trained and searched before

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.RouterHead',
        front='work_dirs/vitb_flowers_stage2/search/pareto.json',
    ),
)
optim_wrapper = dict(
    paramwise_cfg=dict(
        # 1e-3 for the router.
        custom_keys={'router': dict(lr_mult=100.0, decay_mult=0.0)}
    ),
)
# 1,836 images in batches of 256: 8 steps an epoch.
train_cfg = dict(max_epochs=225)
# 1,000 of these 1,800 steps; a share, for folders of fewer images.
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=5 / 9)]
load_from = 'work_dirs/vitb_flowers_stage2/stage1/epoch_100.pth'
