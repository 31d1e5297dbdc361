# The whole network alone on Flowers.
_base_ = [
    '../_base_/baselines/dense_vitti.py',
    '../_base_/datasets/flowers89.py',
]

model = dict(head=dict(num_classes=89))
