# Food-101, in data/food-101. 20 training images a class choose the subnets.
_base_ = ['./cls_224.py']

split = dict(
    type='eavit_mm.Split',
    parts=dict(search=2020, train=None),  # of 75,750
    dataset=dict(type='Food101', data_root='data/food-101', split='train'),
)
train_dataloader = dict(dataset=dict(split, part='train'))
val_dataloader = dict(dataset=dict(split, part='search'))
test_dataloader = dict(
    dataset=dict(type='Food101', data_root='data/food-101', split='test')
)
del split
