# CIFAR-100, in data/cifar100/cifar-100-python. 20 images a class choose the
# subnets.
_base_ = ['./arrays_224.py']

split = dict(
    type='eavit_mm.Split',
    parts=dict(search=2000, train=None),  # of 50,000
    dataset=dict(
        type='eavit_mm.CIFAR100', data_root='data/cifar100', split='train'
    ),
)
train_dataloader = dict(dataset=dict(split, part='train'))
val_dataloader = dict(dataset=dict(split, part='search'))
test_dataloader = dict(
    dataset=dict(
        type='eavit_mm.CIFAR100', data_root='data/cifar100', split='test'
    )
)
del split
