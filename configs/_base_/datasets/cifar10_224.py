# CIFAR-10, in data/cifar10/cifar-10-batches-py. 200 images a class choose the
# subnets.
_base_ = ['./arrays_224.py']

split = dict(
    type='eavit_mm.Split',
    parts=dict(search=2000, train=None),  # of 50,000
    dataset=dict(
        type='eavit_mm.CIFAR10', data_root='data/cifar10', split='train'
    ),
)
train_dataloader = dict(dataset=dict(split, part='train'))
val_dataloader = dict(dataset=dict(split, part='search'))
test_dataloader = dict(
    dataset=dict(
        type='eavit_mm.CIFAR10', data_root='data/cifar10', split='test'
    )
)
del split
