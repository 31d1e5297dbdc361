# The whole network alone on Textures.
_base_ = [
    '../_base_/baselines/dense_vitti.py',
    '../_base_/datasets/dtd10.py',
]

model = dict(head=dict(num_classes=10))
