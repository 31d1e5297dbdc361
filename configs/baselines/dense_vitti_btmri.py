# The whole network alone on MRI of brain tumours.
_base_ = [
    '../_base_/baselines/dense_vitti.py',
    '../_base_/datasets/btmri.py',
]

model = dict(head=dict(num_classes=4))
