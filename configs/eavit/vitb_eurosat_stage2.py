# EA-ViT stage 2: the router alone for 1,000 steps, then 100 epochs together
# with the network. tools/adapt.py runs this config and all that comes before.
_base_ = ['./vitb_eurosat.py']

stage1 = '{{fileDirname}}/vitb_eurosat.py'  # trained and searched before

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.RouterHead',
        front='work_dirs/vitb_eurosat_stage2/search/pareto.json',
    ),
)
# 20,600 images in batches of 256: 81 steps an epoch. A share of them, for
# folders of fewer images.
train_cfg = dict(max_epochs=113)
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=1000 / (113 * 81))]
load_from = 'work_dirs/vitb_eurosat_stage2/stage1/epoch_100.pth'
