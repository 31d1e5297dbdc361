# ViT-Ti/16 as a supernet, at 64 px: 16 patches and a class token.
# Heads and FFN of each layer are elastic. A narrow residual stream and
# branches that are off would reach a tenth of the MACs in place of a sixth.
# On two of five sets they cost the others 1 and 2 points of accuracy, more
# than the spread (docs/benchmark/real_ablations.md).
trained = [  # in stage 1, besides the largest
    dict(
        embed_dims=192,
        num_heads=[heads] * 12,
        feedforward_channels=[ffn] * 12,
        head_dims=64,
    )
    for heads, ffn in ((1, 96), (1, 192), (2, 288), (2, 480), (3, 576))
]
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
        space=dict(
            embed_dims=[192],
            num_heads=[1, 2, 3],
            feedforward_channels=[32, 96, 192, 288, 384, 480, 576, 672, 768],
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
            dict(type='eavit_mm.FixedListSampler', subnets=trained),
        ],
        weights=[3.0, 5.0],
    ),
)
