# mmpretrain's ImageNet-1k with DeiT's augmentations, whose validation images
# are only reported. Subnets are chosen by training images that training
# leaves out.
_base_ = ['mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py']

split = dict(
    _delete_=True,
    type='eavit_mm.Split',
    parts=dict(search=10000, train=None),  # of 1,281,167
    dataset={{_base_.train_dataloader.dataset}},
)
train_dataloader = dict(
    dataset=dict(split, part='train', pipeline={{_base_.train_pipeline}}),
)
val_dataloader = dict(
    dataset=dict(split, part='search', pipeline={{_base_.test_pipeline}}),
)
del split
test_dataloader = {{_base_.val_dataloader}}
tta_pipeline = [
    *_base_.test_pipeline[:-1],
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
            [dict(type='PackInputs')],
        ],
    ),
]
