# Flextron's phases 2 and 3 on Flowers.
_base_ = [
    '../_base_/baselines/flextron_vitti_phase2.py',
    '../_base_/datasets/flowers89.py',
]

model = dict(
    head=dict(num_classes=89),
    router=dict(
        latency_table='work_dirs/flextron_vitti_flowers89/latency.json'
    ),
)
load_from = 'work_dirs/flextron_vitti_flowers89/iter_1200.pth'
