# DynaBERT's depth phase on Land from above.
_base_ = [
    '../_base_/baselines/dynabert_vitti_phase2.py',
    '../_base_/datasets/eurosat.py',
]

model = dict(head=dict(num_classes=10))
load_from = 'work_dirs/dynabert_vitti_eurosat/iter_1200.pth'
