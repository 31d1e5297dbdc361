# Flextron's phases 2 and 3 on Textures.
_base_ = [
    '../_base_/baselines/flextron_vitti_phase2.py',
    '../_base_/datasets/dtd10.py',
]

model = dict(
    head=dict(num_classes=10),
    router=dict(latency_table='work_dirs/flextron_vitti_dtd10/latency.json'),
)
load_from = 'work_dirs/flextron_vitti_dtd10/iter_1200.pth'
