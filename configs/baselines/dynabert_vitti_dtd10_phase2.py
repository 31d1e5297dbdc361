# DynaBERT's depth phase on Textures.
_base_ = [
    '../_base_/baselines/dynabert_vitti_phase2.py',
    '../_base_/datasets/dtd10.py',
]

model = dict(head=dict(num_classes=10))
load_from = 'work_dirs/dynabert_vitti_dtd10/iter_1200.pth'
