# DynaBERT's width phase on MRI of brain tumours.
_base_ = [
    '../_base_/baselines/dynabert_vitti.py',
    '../_base_/datasets/btmri.py',
]

model = dict(head=dict(num_classes=4))
load_from = 'work_dirs/dense_vitti_btmri/iter_1200.pth'
