# ViT-B/16 with the weights of DeiT III (ImageNet-21k): layer scale.
_base_ = ['./elastic_vitb_augreg.py']

model = dict(
    backbone=dict(
        norm_cfg=dict(type='LN', eps=1e-6),
        layer_scale_init_value=1.0,
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/deit/'
            'deit_3_base_224_21k.pth'
        ),
    )
)
data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
