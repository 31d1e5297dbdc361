# ViT-Ti/16 as an elastic segmentor: mmseg's four taps, and a pyramid so light
# that the backbone has nine tenths of the MACs.
norm_cfg = dict(type='GN', num_groups=8)
model = dict(
    type='eavit_mm.ElasticEncoderDecoder',
    _scope_='mmseg',  # for mmpretrain's get_model
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        size=(112, 144),
        mean=[127.5, 127.5, 127.5],  # augreg's normalisation
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='eavit_mm.ElasticVisionTransformer',
        arch='deit-tiny',
        img_size=(112, 144),
        patch_size=16,
        out_type='featmap',
        out_indices=[2, 5, 8, 11],
        final_norm=False,
        # As mmpretrain's, or timm's vit_tiny_patch16_224 by tools/convert.py;
        # positions are resized.
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/vit-tiny-p16_in1k_fp16.pth',
            prefix='backbone.',
        ),
        # In trials of 500 iterations subnets of a narrower residual stream
        # were up to 3 points worse at equal MACs, and a branch off cost a
        # wide network up to 30.
        space=dict(
            embed_dims=[192],
            num_heads=[1, 2, 3],
            feedforward_channels=[96, 192, 288, 384, 480, 576, 672, 768],
        ),
    ),
    neck=dict(
        type='MultiLevelNeck',
        in_channels=[192, 192, 192, 192],
        out_channels=32,
        scales=[4, 2, 1, 1],
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type='FPNHead',
        in_channels=[32, 32, 32, 32],
        in_index=[0, 1, 2, 3],
        feature_strides=[1, 2, 4, 4],
        channels=48,
        dropout_ratio=0.1,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
    test_cfg=dict(mode='whole'),
    sampler=dict(
        type='eavit_mm.MixedSampler',
        samplers=[
            dict(type='eavit_mm.LargestSampler'),
            dict(type='eavit_mm.LadderSampler'),
            dict(type='eavit_mm.SharedSampler'),
            # The narrow ones gained 4 points from a quarter of the steps.
            dict(
                type='eavit_mm.FixedListSampler',
                subnets=['smallest', 0.3, 0.4],
            ),
        ],
        weights=[4.0, 2.0, 1.0, 1.0],
    ),
)
