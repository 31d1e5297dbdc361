# DynaBERT's width phase on Textures.
_base_ = [
    '../_base_/baselines/dynabert_vitti.py',
    '../_base_/datasets/dtd10.py',
]

model = dict(head=dict(num_classes=10))
load_from = 'work_dirs/dense_vitti_dtd10/iter_1200.pth'
