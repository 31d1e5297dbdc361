# Stage 2; tools/adapt.py runs this config, all stages of it.
_base_ = [
    '../_base_/models/elastic_vitti.py',
    '../_base_/datasets/folder_64.py',
    '../_base_/schedules/adamw_vitti_stage2.py',
]

stage1 = '{{fileDirname}}/vitti_folder.py'  # trained and searched before

data_preprocessor = dict(num_classes=10)
model = dict(
    backbone=dict(init_cfg=None),
    head=dict(num_classes=10),
    router=dict(
        type='eavit_mm.RouterHead',
        front='work_dirs/vitti_folder_stage2/search/pareto.json',
        highest=2.4,
        skew=2.0,
        gated_every=10,
    ),
)
load_from = 'work_dirs/vitti_folder_stage2/stage1/iter_360.pth'
