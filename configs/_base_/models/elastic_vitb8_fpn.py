# ViT-B/8 with a light pyramid, for lines of few pixels such as vessels, in
# crops of 128 pixels: 16 x 16 tokens of 8 pixels, which the neck brings to 2.
# Neck and head of UPerNet would take 3.6 times the backbone's MACs.
# Large images are read in such windows, which overlap by a third: positions of
# 16 x 16 tokens would be stretched over 120 x 120, and attention grows by the
# square of the tokens.
_base_ = ['./elastic_vitb_upernet.py']

norm_cfg = dict(type='GN', num_groups=32)
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(
        img_size=128,
        patch_size=8,
        out_indices=[3, 7, 11],
        init_cfg=dict(checkpoint='checkpoints/vit-base-p8_in21k.pth'),
    ),
    neck=dict(
        in_channels=[768, 768, 768],
        out_channels=256,
        scales=[4, 2, 1],
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        _delete_=True,
        type='FPNHead',
        in_channels=[256, 256, 256],
        in_index=[0, 1, 2],
        feature_strides=[2, 4, 8],
        channels=128,
        dropout_ratio=0.1,
        num_classes=2,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
    auxiliary_head=None,
    test_cfg=dict(mode='slide', crop_size=(128, 128), stride=(85, 85)),
)
