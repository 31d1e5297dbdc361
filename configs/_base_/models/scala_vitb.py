# Scala's ViT-B/16 (arXiv 2412.04786): X = 13 widths of the whole network, of
# a quarter to all of its channels; the number of heads is fixed. The smallest
# width is a suffix, all others are prefixes. The release adds a distillation
# token and a frozen teacher for the largest; here the class token is both.
model = dict(
    type='eavit_mm.ElasticImageClassifier',
    backbone=dict(
        type='eavit_mm.ElasticVisionTransformer',
        arch='deit-base',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        norm_cfg=dict(type='LN', eps=1e-5),
        space=dict(
            embed_dims=list(range(192, 769, 48)),
            head_dims=list(range(16, 65, 4)),
            num_heads=[12],
            feedforward_channels=list(range(768, 3073, 192)),
            ties=[['embed_dims', 'head_dims', 'feedforward_channels']],
            suffix_smallest=True,
        ),
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(
            type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'
        ),
    ),
    init_cfg=[  # mmpretrain's of DeiT
        dict(type='TruncNormal', layer='Linear', std=0.02),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
    train_cfg=dict(
        augments=[
            dict(type='Mixup', alpha=0.8),
            dict(type='CutMix', alpha=1.0),
        ]
    ),
    # Four networks a step, each taught by the next larger one.
    sampler=dict(type='eavit_mm.StableSampler'),
    distillation=dict(type='eavit_mm.ProgressiveDistillation'),
)
