# ViT-B/16 at 224 px as EA-ViT adapts it: augreg's weights of ImageNet-21k, the
# class token, the box and curriculum of the release. Every other file here
# that is named elastic_vit*_* after its weights takes this one's place in a
# recipe by one line; what they say of the network their weights must have.
_base_ = ['./elastic_vitb.py']

model = dict(
    backbone=dict(
        norm_cfg=dict(type='LN', eps=1e-5),  # the release's; augreg's is 1e-6
        # In mmpretrain's names or as timm, Hugging Face or augreg (.npz) have
        # it: B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0.npz of
        # storage.googleapis.com/vit_models/augreg.
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/vit-base-p16_in21k.pth',
            prefix='backbone.',
        ),
    )
)
data_preprocessor = dict(
    mean=[127.5, 127.5, 127.5],
    std=[127.5, 127.5, 127.5],
    to_rgb=True,
)
custom_hooks = [
    dict(
        type='eavit_mm.RearrangeHook',
        criterion=dict(type='eavit_mm.ActivationCriterion'),
    ),
    dict(
        type='eavit_mm.CurriculumHook',
        # Epochs and bounds of the released recipe; the FFN's are its ratios
        # 4, 4, 3, 3, 2, 1, 0.5 of the full embedding width.
        levels=[
            dict(begin=0),
            dict(begin=10, embed_dims=704, num_heads=11),
            dict(
                begin=15,
                embed_dims=640,
                num_heads=10,
                feedforward_channels=2304,
            ),
            dict(begin=20, embed_dims=576, num_heads=9),
            dict(
                begin=25,
                embed_dims=512,
                num_heads=8,
                feedforward_channels=1536,
            ),
            dict(
                begin=30,
                embed_dims=448,
                num_heads=7,
                feedforward_channels=768,
            ),
            dict(
                begin=35,
                embed_dims=384,
                num_heads=6,
                feedforward_channels=384,
                max_off=2,
                p_off=0.3,
            ),
        ],
    ),
]
