# DynaBERT's width phase on Flowers.
_base_ = [
    '../_base_/baselines/dynabert_vitti.py',
    '../_base_/datasets/flowers89.py',
]

model = dict(head=dict(num_classes=89))
load_from = 'work_dirs/dense_vitti_flowers89/iter_1200.pth'
