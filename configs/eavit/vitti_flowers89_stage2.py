# Stage 2; tools/adapt.py runs this config, all stages of it.
_base_ = [
    '../_base_/eavit_vitti_stage2.py',
    '../_base_/datasets/flowers89.py',
]

stage1 = '{{fileDirname}}/vitti_flowers89.py'  # trained and searched before

model = dict(
    head=dict(num_classes=89),
    router=dict(front='work_dirs/vitti_flowers89_stage2/search/pareto.json'),
)
load_from = 'work_dirs/vitti_flowers89_stage2/stage1/iter_440.pth'
