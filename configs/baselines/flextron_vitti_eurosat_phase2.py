# Flextron's phases 2 and 3 on Land from above.
_base_ = [
    '../_base_/baselines/flextron_vitti_phase2.py',
    '../_base_/datasets/eurosat.py',
]

model = dict(
    head=dict(num_classes=10),
    router=dict(latency_table='work_dirs/flextron_vitti_eurosat/latency.json'),
)
load_from = 'work_dirs/flextron_vitti_eurosat/iter_1200.pth'
