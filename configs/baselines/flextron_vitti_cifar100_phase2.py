# Flextron's phases 2 and 3 on CIFAR-100.
_base_ = [
    '../_base_/baselines/flextron_vitti_phase2.py',
    '../_base_/datasets/cifar100.py',
]

model = dict(
    head=dict(num_classes=100),
    router=dict(
        latency_table='work_dirs/flextron_vitti_cifar100/latency.json'
    ),
)
load_from = 'work_dirs/flextron_vitti_cifar100/iter_1200.pth'
