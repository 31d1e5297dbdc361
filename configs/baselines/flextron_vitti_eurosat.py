# Flextron's phase 1 on Land from above.
_base_ = [
    '../_base_/baselines/flextron_vitti.py',
    '../_base_/datasets/eurosat.py',
]

model = dict(head=dict(num_classes=10))
