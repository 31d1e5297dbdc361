# Fashion-40 on the half of Fashion-MNIST that ViT-mini has not seen: class x
# rotation. A flip would change the label, so there is none.
_base_ = ['./fashion.py']

data_preprocessor = dict(num_classes=40)
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
    dataset=dict(
        part='train',
        dataset=dict(type='eavit_mm.Fashion40'),
        pipeline=[
            dict(type='RandomCrop', crop_size=28, padding=2),
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(dataset=dict(type='eavit_mm.Fashion40')),
)
test_dataloader = dict(dataset=dict(type='eavit_mm.Fashion40'))
