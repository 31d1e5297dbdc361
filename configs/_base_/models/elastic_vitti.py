# ViT-Ti/16 as a supernet, at 64 px: 16 patches and a class token.
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
            embed_dims=[96, 112, 128, 144, 160, 176, 192],
            num_heads=[1, 2, 3],
            feedforward_channels=[96, 192, 288, 384, 480, 576, 672, 768],
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
            dict(type='eavit_mm.SharedSampler'),
            dict(type='eavit_mm.LadderSampler', p_jitter=0.0),
        ],
    ),
)
