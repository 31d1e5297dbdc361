# ViT-B/16 at 224 px as a supernet: the box of the EA-ViT release.
model = dict(
    type='eavit_mm.ElasticImageClassifier',
    backbone=dict(
        type='eavit_mm.ElasticVisionTransformer',
        arch='b',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        with_cls_token=True,
        out_type='cls_token',
        final_norm=True,
        space=dict(
            embed_dims=[384, 448, 512, 576, 640, 704, 768],
            num_heads=[6, 7, 8, 9, 10, 11, 12],
            feedforward_channels=[
                384,
                768,
                1152,
                1536,
                1920,
                2304,
                2688,
                3072,
            ],
            max_off=2,
        ),
    ),
    head=dict(
        type='LinearClsHead',
        in_channels=768,
        loss=dict(
            type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'
        ),
    ),
    sampler=dict(type='eavit_mm.UniformSampler'),
)
