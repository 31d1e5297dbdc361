# The whole network alone on Land from above.
_base_ = [
    '../_base_/baselines/dense_vitti.py',
    '../_base_/datasets/eurosat.py',
]

model = dict(head=dict(num_classes=10))
