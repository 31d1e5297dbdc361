# scikit-learn's digits, 8x8, enlarged to ViT-mini's 28 px.
parts = dict(search=150, train=None)  # of the 1,347 training images
data_preprocessor = dict(num_classes=10, mean=[77.8], std=[95.9])

train_pipeline = [
    dict(type='Resize', scale=28),
    dict(type='RandomCrop', crop_size=28, padding=2),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='eavit_mm.LoadGrayImage'),  # of files, by inferencers
    dict(type='Resize', scale=28),
    dict(type='PackInputs'),
]
# --tta looks closer as well: a flip would make another digit of it.
tta_pipeline = [
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=scale) for scale in (28, 30)],
            [dict(type='CenterCrop', crop_size=28)],
            [dict(type='PackInputs')],
        ],
    ),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='eavit_mm.Split',
        part='train',
        parts=parts,
        dataset=dict(type='eavit_mm.Digits', split='train'),
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=150,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='eavit_mm.Split',
        part='search',
        parts=parts,
        dataset=dict(type='eavit_mm.Digits', split='train'),
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = dict(
    batch_size=450,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(type='eavit_mm.Digits', split='test', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
