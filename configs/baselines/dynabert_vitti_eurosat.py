# DynaBERT's width phase on Land from above.
_base_ = [
    '../_base_/baselines/dynabert_vitti.py',
    '../_base_/datasets/eurosat.py',
]

model = dict(head=dict(num_classes=10))
load_from = 'work_dirs/dense_vitti_eurosat/iter_1200.pth'
