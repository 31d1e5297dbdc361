# mmseg's UPerNet on ViT-B/16 with a MultiLevelNeck, elastic. Instead of
# SyncBN, whose statistics would be those of all subnets at once, GN.
_base_ = ['./elastic_vitb.py']

norm_cfg = dict(type='GN', num_groups=32)
model = dict(
    _delete_=True,
    type='eavit_mm.ElasticEncoderDecoder',
    _scope_='mmseg',  # for mmpretrain's get_model
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        size=(512, 512),
        mean=[127.5, 127.5, 127.5],  # augreg's normalisation
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='eavit_mm.ElasticVisionTransformer',
        arch='b',
        img_size=512,
        patch_size=16,
        out_type='featmap',
        out_indices=[2, 5, 8, 11],
        final_norm=False,
        space={{_base_.model.backbone.space}},
        # As in eavit/vitb_flowers.py. The final norm is left out.
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/vit-base-p16_in21k.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(
        type='MultiLevelNeck',
        in_channels=[768, 768, 768, 768],
        out_channels=768,
        scales=[4, 2, 1, 0.5],
    ),
    decode_head=dict(
        type='UPerHead',
        in_channels=[768, 768, 768, 768],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=768,
        in_index=3,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
    ),
    test_cfg=dict(mode='whole'),
    sampler={{_base_.model.sampler}},
)
