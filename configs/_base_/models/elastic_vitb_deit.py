# ViT-B/16 with the weights of DeiT (ImageNet-1k, not distilled).
_base_ = ['./elastic_vitb_augreg.py']

model = dict(
    backbone=dict(
        norm_cfg=dict(type='LN', eps=1e-6),
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/deit/'
            'deit_base_patch16_224-b5f2ef4d.pth'
        ),
    )
)
data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
