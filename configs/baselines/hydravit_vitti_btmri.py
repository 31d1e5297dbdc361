# HydraViT on MRI of brain tumours.
_base_ = [
    '../_base_/baselines/hydravit_vitti.py',
    '../_base_/datasets/btmri.py',
]

model = dict(head=dict(num_classes=4))
