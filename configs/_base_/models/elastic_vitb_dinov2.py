# ViT-B/14 with the weights of DINOv2, without registers: layer scale, patches
# of 14 pixels, positions resized to 16 x 16.
_base_ = ['./elastic_vitb_augreg.py']

model = dict(
    backbone=dict(
        patch_size=14,
        norm_cfg=dict(type='LN', eps=1e-6),
        layer_scale_init_value=1.0,
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/'
            'dinov2_vitb14_pretrain.pth'
        ),
    )
)
data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
