# ViT-B/16 with the weights of a masked autoencoder (ImageNet-1k, no labels).
_base_ = ['./elastic_vitb_augreg.py']

model = dict(
    backbone=dict(
        norm_cfg=dict(type='LN', eps=1e-6),
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/mae/pretrain/'
            'mae_pretrain_vit_base.pth'
        ),
    )
)
data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
