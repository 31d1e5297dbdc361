# ViT-Ti/16 as a supernet, at 64 px: 16 patches and a class token.
# Networks that stage 1 trains: heads and FFN, with the whole residual stream,
# and the smallest two with two thirds of it. What it hardly trains, the search
# leaves out: above a fifth of the MACs the whole stream is better.
wide, narrow = (
    [
        dict(
            embed_dims=embed_dims,
            num_heads=[heads] * 12,
            feedforward_channels=[ffn] * 12,
            head_dims=64,
        )
        for heads, ffn in widths
    ]
    for embed_dims, widths in (
        (192, [(1, 96), (1, 192), (2, 288), (2, 480), (3, 576)]),
        (128, [(1, 32), (1, 96)]),
    )
)
model = dict(
    type='eavit_mm.ElasticImageClassifier',
    backbone=dict(
        type='eavit_mm.ElasticVisionTransformer',
        arch='deit-tiny',
        img_size=64,
        patch_size=16,
        # As mmpretrain's, or timm's vit_tiny_patch16_224 by tools/convert.py;
        # positions are resized.
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/vit-tiny-p16_in1k_fp16.pth',
            prefix='backbone.',
        ),
        # Where the residual stream had seven widths, networks of half of the
        # MACs lost 6 to 11 points to those of the whole stream, and gained at
        # a fifth.
        space=dict(
            embed_dims=[128, 192],
            num_heads=[1, 2, 3],
            feedforward_channels=[32, 96, 192, 288, 384, 480, 576, 672, 768],
            max_off=2,
        ),
    ),
    head=dict(
        type='LinearClsHead',
        in_channels=192,
        loss=dict(
            type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'
        ),
    ),
    sampler=dict(
        type='eavit_mm.MixedSampler',
        samplers=[
            dict(type='eavit_mm.LargestSampler'),
            dict(type='eavit_mm.FixedListSampler', subnets=wide),
            dict(type='eavit_mm.FixedListSampler', subnets=narrow),
        ],
        weights=[3.0, 3.0, 2.0],
    ),
)
