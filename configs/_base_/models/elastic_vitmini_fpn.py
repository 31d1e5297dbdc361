# ViT-mini as an elastic segmentor of 56 px: three taps, a light pyramid whose
# norms come behind convolutions of its own.
_base_ = ['./elastic_vitmini.py']

norm_cfg = dict(type='GN', num_groups=4)
model = dict(
    _delete_=True,
    type='eavit_mm.ElasticEncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        size=(56, 56),
        mean=[126.7],  # of the canvases
        std=[44.2],
        seg_pad_val=255,
    ),
    backbone=dict(
        type='eavit_mm.ElasticVisionTransformer',
        arch={{_base_.model.backbone.arch}},
        img_size=56,
        patch_size=7,
        in_channels=1,
        with_cls_token=False,
        out_type='featmap',
        out_indices=[1, 3, 5],
        final_norm=False,
        space={{_base_.model.backbone.space}},
    ),
    neck=dict(
        type='MultiLevelNeck',
        in_channels=[96, 96, 96],
        out_channels=16,
        scales=[4, 2, 1],
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type='FPNHead',
        in_channels=[16, 16, 16],
        in_index=[0, 1, 2],
        feature_strides=[1, 2, 4],
        channels=24,
        dropout_ratio=0.0,
        num_classes=11,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
    test_cfg=dict(mode='whole'),
    sampler={{_base_.model.sampler}},
)
