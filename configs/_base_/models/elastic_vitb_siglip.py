# The image tower of SigLIP ViT-B/16: the mean of its tokens in place of its
# pool.
_base_ = ['./elastic_vitb_augreg.py']

model = dict(
    backbone=dict(
        with_cls_token=False,
        out_type='featmap',
        norm_cfg=dict(type='LN', eps=1e-6),
        layer_cfgs=dict(act_cfg=dict(type='GELU', approximate='tanh')),
        init_cfg=dict(
            checkpoint='https://huggingface.co/google/siglip-base-patch16-224/'
            'resolve/main/model.safetensors'
        ),
    ),
    neck=dict(type='GlobalAveragePooling'),
)
