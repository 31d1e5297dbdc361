# mmseg's DRIVE, retinas of 565 x 584 pixels, whose validation images are only
# reported. Subnets are chosen by the last four of the twenty training images.
_base_ = ['mmseg::_base_/datasets/drive.py']

# mmseg's crops of 64 pixels are for U-Nets, whose first maps are as fine as
# the image: of a ViT-B/8 they would be 8 x 8 tokens.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(584, 565),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    dict(type='RandomCrop', crop_size=(128, 128), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=2,
    dataset=dict(dataset=dict(indices=16, pipeline=train_pipeline)),  # of 20
)
val_dataloader = dict(
    dataset=dict(
        indices=-4,
        data_prefix=dict(
            img_path='images/training', seg_map_path='annotations/training'
        ),
    )
)
