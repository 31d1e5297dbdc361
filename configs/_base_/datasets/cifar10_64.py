# CIFAR-10 at 64 px, in data/cifar10/cifar-10-batches-py. 40 images a class
# choose the subnets.
_base_ = ['./cls_64.py']

split = dict(
    type='eavit_mm.Split',
    parts=dict(search=400, train=None),  # of 50,000
    dataset=dict(
        type='eavit_mm.CIFAR10', data_root='data/cifar10', split='train'
    ),
    pipeline=_base_.test_pipeline[1:],  # images are in memory
)
train_dataloader = dict(
    dataset=dict(split, part='train', pipeline=_base_.train_pipeline[1:])
)
val_dataloader = dict(dataset=dict(split, part='search'))
test_dataloader = dict(
    dataset=dict(
        type='eavit_mm.CIFAR10',
        data_root='data/cifar10',
        split='test',
        pipeline=_base_.test_pipeline[1:],
    )
)
tta_pipeline = _base_.tta_pipeline[1:]
del split
