# Clothes of Fashion-MNIST on textured canvases of 56 px, from the half that
# ViT-mini has not seen. They are divided as in fashion40.py, and each part is
# pasted on canvases of its own.
parts = dict(pretrain=30000, search=2000, train=None)

train_pipeline = [
    dict(type='LoadImageFromFile', color_type='grayscale'),
    dict(type='LoadAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', color_type='grayscale'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile', color_type='grayscale'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
            [dict(type='PackSegInputs')],
        ],
    ),
]

things = dict(
    type='eavit_mm.Split',
    parts=parts,
    balanced=False,
    dataset=dict(
        type='eavit_mm.FashionMNIST',
        data_root='data/fashion-mnist',
        split='train',
    ),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='eavit_mm.Canvases',
        source=dict(things, part='train'),
        number=8000,
        seed=0,
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='eavit_mm.Canvases',
        source=dict(things, part='search'),
        number=300,
        seed=1,
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
del things
test_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='eavit_mm.Canvases',
        source=dict(
            type='eavit_mm.FashionMNIST',
            data_root='data/fashion-mnist',
            split='test',
        ),
        number=1000,
        seed=2,
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
