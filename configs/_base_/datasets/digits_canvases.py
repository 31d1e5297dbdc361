# scikit-learn's digits on textured canvases of 56 px. The digits are divided
# as in digits.py, and each part is pasted on canvases of its own.
parts = dict(search=150, train=None)  # of the 1,347 training digits

train_pipeline = [
    dict(type='LoadImageFromFile', color_type='grayscale'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
test_pipeline = train_pipeline
# --tta looks closer as well: a flip would make another digit of it.
tta_pipeline = [
    dict(type='LoadImageFromFile', color_type='grayscale'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(size, size)) for size in (56, 70)],
            [dict(type='PackSegInputs')],
        ],
    ),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='eavit_mm.Canvases',
        source=dict(
            type='eavit_mm.Split',
            part='train',
            parts=parts,
            dataset=dict(type='eavit_mm.Digits', split='train'),
        ),
        number=3000,
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
        source=dict(
            type='eavit_mm.Split',
            part='search',
            parts=parts,
            dataset=dict(type='eavit_mm.Digits', split='train'),
        ),
        number=100,
        seed=1,
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='eavit_mm.Canvases',
        source=dict(type='eavit_mm.Digits', split='test'),
        number=300,
        seed=2,
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
