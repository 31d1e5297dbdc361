# HydraViT on Flowers.
_base_ = [
    '../_base_/baselines/hydravit_vitti.py',
    '../_base_/datasets/flowers89.py',
]

model = dict(head=dict(num_classes=89))
