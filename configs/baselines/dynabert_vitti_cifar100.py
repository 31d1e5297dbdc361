# DynaBERT's width phase on CIFAR-100.
_base_ = [
    '../_base_/baselines/dynabert_vitti.py',
    '../_base_/datasets/cifar100.py',
]

model = dict(head=dict(num_classes=100))
load_from = 'work_dirs/dense_vitti_cifar100/iter_1200.pth'
