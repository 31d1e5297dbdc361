# Oxford 102 Flowers at 224 px, in mmpretrain's place: data/Flowers102.
# Training takes trainval less two images a class, which are kept to select
# subnets; the test split is only reported.
parts = dict(search=204, train=None)  # of the 2,040 images of trainval
data_preprocessor = dict(
    num_classes=102,
    mean=[127.5, 127.5, 127.5],  # augreg's normalisation
    std=[127.5, 127.5, 127.5],
    to_rgb=True,
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=224,
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='ResizeEdge',
        scale=256,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
tta_pipeline = [
    *test_pipeline[:-1],
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
            [dict(type='PackInputs')],
        ],
    ),
]

train_dataloader = dict(
    batch_size=256,
    num_workers=8,
    dataset=dict(
        type='eavit_mm.Split',
        part='train',
        parts=parts,
        dataset=dict(
            type='eavit_mm.Flowers102',
            data_root='data/Flowers102',
            split='trainval',
        ),
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=8,
    dataset=dict(
        type='eavit_mm.Split',
        part='search',
        parts=parts,
        dataset=dict(
            type='eavit_mm.Flowers102',
            data_root='data/Flowers102',
            split='trainval',
        ),
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = dict(
    batch_size=256,
    num_workers=8,
    dataset=dict(
        type='eavit_mm.Flowers102',
        data_root='data/Flowers102',
        split='test',
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
