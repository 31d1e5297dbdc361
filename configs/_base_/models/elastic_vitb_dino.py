# ViT-B/16 with the weights of DINO (ImageNet-1k, no labels).
_base_ = ['./elastic_vitb_augreg.py']

model = dict(
    backbone=dict(
        norm_cfg=dict(type='LN', eps=1e-6),
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/'
            'dino_vitbase16_pretrain.pth'
        ),
    )
)
data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
