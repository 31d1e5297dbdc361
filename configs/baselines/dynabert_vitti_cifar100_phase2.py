# DynaBERT's depth phase on CIFAR-100.
_base_ = [
    '../_base_/baselines/dynabert_vitti_phase2.py',
    '../_base_/datasets/cifar100.py',
]

model = dict(head=dict(num_classes=100))
load_from = 'work_dirs/dynabert_vitti_cifar100/iter_1200.pth'
