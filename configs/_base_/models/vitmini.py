# ViT-mini: 28 px, patch 7 (16 tokens, mean-pooled), 11 M MACs.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch=dict(
            embed_dims=96,
            num_layers=6,
            num_heads=6,
            feedforward_channels=384,
        ),
        img_size=28,
        patch_size=7,
        in_channels=1,
        with_cls_token=False,
        out_type='avg_featmap',
        final_norm=False,  # the norm follows the pooling
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=96,
        loss=dict(
            type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'
        ),
    ),
)
