# Stage 2; tools/adapt.py runs this config, all stages of it.
_base_ = [
    '../_base_/eavit_vitti_stage2.py',
    '../_base_/datasets/cifar10_64.py',
]

stage1 = '{{fileDirname}}/vitti_cifar10.py'  # trained and searched before

data_preprocessor = dict(num_classes=10)
model = dict(
    head=dict(num_classes=10),
    router=dict(front='work_dirs/vitti_cifar10_stage2/search/pareto.json'),
)
load_from = 'work_dirs/vitti_cifar10_stage2/stage1/iter_440.pth'
