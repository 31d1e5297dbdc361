# MatFormer on CIFAR-100.
_base_ = [
    '../_base_/baselines/matformer_vitti.py',
    '../_base_/datasets/cifar100.py',
]

model = dict(head=dict(num_classes=100))
