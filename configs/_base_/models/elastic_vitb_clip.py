# The image tower of OpenAI's CLIP ViT-B/16.
_base_ = ['./elastic_vitb_augreg.py']

model = dict(
    backbone=dict(
        pre_norm=True,
        layer_cfgs=dict(act_cfg=dict(type='mmpretrain.QuickGELU')),
        init_cfg=dict(
            checkpoint='https://huggingface.co/openai/clip-vit-base-patch16/'
            'resolve/main/pytorch_model.bin'
        ),
    )
)
data_preprocessor = dict(
    mean=[122.771, 116.746, 104.094], std=[68.5, 66.632, 70.323]
)
