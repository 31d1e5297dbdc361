# Stage 2; tools/adapt.py runs this config, all stages of it.
_base_ = [
    '../_base_/models/elastic_vitti_seg.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/adamw_vitti_seg_stage2.py',
]

stage1 = '{{fileDirname}}/vitti_camvid.py'  # trained and searched before

model = dict(
    backbone=dict(init_cfg=None),
    decode_head=dict(num_classes=11),
    router=dict(
        type='eavit_mm.RouterHead',
        front='work_dirs/vitti_camvid_stage2/search/pareto.json',
        part='backbone',
        highest=2.4,  # two of five steps at the largest subnet
        skew=2.0,
        gated_every=5,
    ),
)
load_from = 'work_dirs/vitti_camvid_stage2/stage1/iter_1000.pth'
