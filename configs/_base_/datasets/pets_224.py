# Oxford-IIIT Pets, in data/Oxford-IIIT_Pets. The release trains on trainval;
# 10 images a class of it choose the subnets.
_base_ = ['./cls_224.py']

split = dict(
    type='eavit_mm.Split',
    parts=dict(search=370, train=None),  # of 3,680
    dataset=dict(
        type='OxfordIIITPet',
        data_root='data/Oxford-IIIT_Pets',
        split='trainval',
    ),
)
train_dataloader = dict(dataset=dict(split, part='train'))
val_dataloader = dict(dataset=dict(split, part='search'))
test_dataloader = dict(
    dataset=dict(
        type='OxfordIIITPet', data_root='data/Oxford-IIIT_Pets', split='test'
    )
)
del split
