# Flextron's phase 1 on Flowers.
_base_ = [
    '../_base_/baselines/flextron_vitti.py',
    '../_base_/datasets/flowers89.py',
]

model = dict(head=dict(num_classes=89))
