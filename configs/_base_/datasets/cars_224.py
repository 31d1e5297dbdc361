# Stanford Cars, in data/Stanford_Cars. 4 training images a class choose the
# subnets.
_base_ = ['./cls_224.py']

split = dict(
    type='eavit_mm.Split',
    parts=dict(search=784, train=None),  # of 8,144
    dataset=dict(
        type='StanfordCars', data_root='data/Stanford_Cars', split='train'
    ),
)
train_dataloader = dict(dataset=dict(split, part='train'))
val_dataloader = dict(dataset=dict(split, part='search'))
test_dataloader = dict(
    dataset=dict(
        type='StanfordCars', data_root='data/Stanford_Cars', split='test'
    )
)
del split
