# ViT-B/14 with the weights of DINOv2 with registers: 4 tokens more.
_base_ = ['./elastic_vitb_dinov2.py']

model = dict(
    backbone=dict(
        num_register_tokens=4,
        init_cfg=dict(
            checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/'
            'dinov2_vitb14_reg4_pretrain.pth'
        ),
    )
)
