# ViT-mini as an elastic segmentor of 56 px. SETR's progressive upsampling:
# what a token says of its 7 x 7 pixels takes several convolutions to unfold.
# With the curriculum of short trainings.
_base_ = ['./elastic_vitmini.py']

model = dict(
    _delete_=True,
    type='eavit_mm.ElasticEncoderDecoder',
    _scope_='mmseg',  # for mmpretrain's get_model
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
        out_indices=[5],
        final_norm=False,
        space={{_base_.model.backbone.space}},
    ),
    decode_head=dict(
        type='SETRUPHead',
        in_channels=96,
        in_index=0,
        channels=48,
        num_convs=2,
        up_scale=2,
        kernel_size=3,
        dropout_ratio=0.0,
        num_classes=11,
        norm_cfg=dict(type='GN', num_groups=4),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
    test_cfg=dict(mode='whole'),
    sampler={{_base_.model.sampler}},
)
custom_hooks = [
    dict(
        type='eavit_mm.RearrangeHook',
        criterion=dict(type='eavit_mm.ActivationCriterion'),
    ),
    dict(
        type='eavit_mm.CurriculumHook',
        levels=[
            dict(begin=0),
            dict(
                begin=1, embed_dims=64, num_heads=4, feedforward_channels=192
            ),
            dict(
                begin=2,
                embed_dims=32,
                num_heads=1,
                feedforward_channels=48,
                max_off=2,
                p_off=0.3,
            ),
        ],
    ),
]
