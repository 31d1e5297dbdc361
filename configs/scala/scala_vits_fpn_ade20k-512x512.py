# A ViT-S that Scala has pretrained, with Semantic FPN on ADE20K. Neck and head
# are not sliced: they read the channels that are open. mmseg's recipe of ViTs.
_base_ = [
    '../_base_/datasets/ade20k_search.py',
    '../_base_/schedules/adamw_seg_80k.py',
    '../_base_/elastic_seg_runtime.py',
]

norm_cfg = dict(type='GN', num_groups=32)
model = dict(
    type='eavit_mm.ElasticEncoderDecoder',
    _scope_='mmseg',  # for mmpretrain's get_model
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        size=(512, 512),
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='eavit_mm.ElasticVisionTransformer',
        arch='deit-small',
        img_size=512,
        patch_size=16,
        drop_path_rate=0.1,
        norm_cfg=dict(type='LN', eps=1e-5),
        out_type='featmap',
        out_indices=[2, 5, 8, 11],
        final_norm=False,
        # As in scala_vits_in1k.py, which makes the checkpoint.
        space=dict(
            embed_dims=list(range(96, 385, 24)),
            head_dims=list(range(16, 65, 4)),
            num_heads=[6],
            feedforward_channels=list(range(384, 1537, 96)),
            ties=[['embed_dims', 'head_dims', 'feedforward_channels']],
            suffix_smallest=True,
        ),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/scala_vits_in1k/epoch_100.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(
        type='MultiLevelNeck',
        in_channels=[384, 384, 384, 384],
        out_channels=256,
        scales=[4, 2, 1, 0.5],
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type='FPNHead',
        in_channels=[256, 256, 256, 256],
        in_index=[0, 1, 2, 3],
        feature_strides=[4, 8, 16, 32],
        channels=128,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
    test_cfg=dict(mode='whole'),
    sampler=dict(type='eavit_mm.StableSampler'),
    distillation=dict(type='eavit_mm.ProgressiveDistillation'),
)
env_cfg = dict(float32_matmul_precision='high')
default_hooks = dict(
    checkpoint=dict(
        by_epoch=False, interval=8000, max_keep_ckpts=2, save_best='auc'
    )
)
subnets = dict(
    _delete_=True, quarter=0.25, half=0.5, three_quarters=0.75, largest=1.0
)
val_cfg = dict(subnets=subnets)
test_cfg = dict(subnets=subnets)
del subnets
custom_hooks = []
