# Flextron's phases 2 and 3 on MRI of brain tumours.
_base_ = [
    '../_base_/baselines/flextron_vitti_phase2.py',
    '../_base_/datasets/btmri.py',
]

model = dict(
    head=dict(num_classes=4),
    router=dict(latency_table='work_dirs/flextron_vitti_btmri/latency.json'),
)
load_from = 'work_dirs/flextron_vitti_btmri/iter_1200.pth'
