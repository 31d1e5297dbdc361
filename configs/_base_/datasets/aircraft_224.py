# FGVC-Aircraft by variant, in data/fgvc-aircraft-2013b. The release trains on
# trainval; 5 images a class of it choose the subnets.
_base_ = ['./cls_224.py']

split = dict(
    type='eavit_mm.Split',
    parts=dict(search=500, train=None),  # of 6,667
    dataset=dict(
        type='FGVCAircraft',
        data_root='data/fgvc-aircraft-2013b',
        split='trainval',
    ),
)
train_dataloader = dict(dataset=dict(split, part='train'))
val_dataloader = dict(dataset=dict(split, part='search'))
test_dataloader = dict(
    dataset=dict(
        type='FGVCAircraft', data_root='data/fgvc-aircraft-2013b', split='test'
    )
)
del split
