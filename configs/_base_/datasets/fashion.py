# The half of Fashion-MNIST's training images that ViT-mini is pretrained on.
# Every config over these images cuts the same parts, whatever the labels.
parts = dict(pretrain=30000, search=2000, train=None)
data_preprocessor = dict(num_classes=10, mean=[72.9], std=[90.0])

train_pipeline = [
    dict(type='RandomCrop', crop_size=28, padding=2),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='eavit_mm.LoadGrayImage'),  # of files, by inferencers
    dict(type='PackInputs'),
]
tta_pipeline = [
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
            [dict(type='PackInputs')],
        ],
    ),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='eavit_mm.Split',
        part='pretrain',
        parts=parts,
        balanced=False,
        dataset=dict(
            type='eavit_mm.FashionMNIST',
            data_root='data/fashion-mnist',
            split='train',
        ),
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='eavit_mm.Split',
        part='search',
        parts=parts,
        balanced=False,
        dataset=dict(
            type='eavit_mm.FashionMNIST',
            data_root='data/fashion-mnist',
            split='train',
        ),
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = dict(
    batch_size=500,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='eavit_mm.FashionMNIST',
        data_root='data/fashion-mnist',
        split='test',
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
