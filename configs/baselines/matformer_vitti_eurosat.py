# MatFormer on Land from above.
_base_ = [
    '../_base_/baselines/matformer_vitti.py',
    '../_base_/datasets/eurosat.py',
]

model = dict(head=dict(num_classes=10))
