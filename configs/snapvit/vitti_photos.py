# Subnets of a ViT-Ti/16 pretrained on ImageNet-1k, without training. Images of
# Flowers-102; of any other set in folders by data_root.
_base_ = [
    '../_base_/models/elastic_vitti.py',
    '../_base_/datasets/flowers89.py',
    '../_base_/elastic_runtime.py',
]

image_size = 112
model = dict(
    backbone=dict(
        img_size=image_size,
        space=dict(
            _delete_=True,
            embed_dims=[192],
            num_heads=[1, 2, 3],
            feedforward_channels=list(range(16, 769, 16)),
        ),
    ),
    head=None,
    new_head=True,  # that of the file is left out
    # Nothing is trained; the model's own draws networks of other widths.
    sampler=dict(_delete_=True, type='eavit_mm.LargestSampler'),
)

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=image_size, interpolation='area'),
    dict(type='CenterCrop', crop_size=image_size),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root='data/flowers89',
        data_prefix='test',
        extensions=_base_.extensions,
        pipeline=pipeline,
    )
)
test_evaluator = dict(_delete_=True, type='eavit_mm.EmbeddingMetric')
