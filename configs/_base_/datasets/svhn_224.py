# Street View House Numbers, cropped: data/svhn/{train,test}_32x32.mat. Digits
# are flipped in training, as in the release; --tta looks closer instead.
_base_ = ['./arrays_224.py']

split = dict(
    type='eavit_mm.Split',
    parts=dict(search=2000, train=None),  # of 73,257
    dataset=dict(type='eavit_mm.SVHN', data_root='data/svhn', split='train'),
)
train_dataloader = dict(dataset=dict(split, part='train'))
val_dataloader = dict(dataset=dict(split, part='search'))
test_dataloader = dict(
    dataset=dict(type='eavit_mm.SVHN', data_root='data/svhn', split='test')
)
del split
tta_pipeline = [
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='ResizeEdge', scale=scale, backend='pillow')
                for scale in (224, 256)
            ],
            [dict(type='CenterCrop', crop_size=224)],
            [dict(type='PackInputs')],
        ],
    ),
]
