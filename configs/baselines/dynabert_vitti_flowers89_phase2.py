# DynaBERT's depth phase on Flowers.
_base_ = [
    '../_base_/baselines/dynabert_vitti_phase2.py',
    '../_base_/datasets/flowers89.py',
]

model = dict(head=dict(num_classes=89))
load_from = 'work_dirs/dynabert_vitti_flowers89/iter_1200.pth'
