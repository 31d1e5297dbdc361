# EA-ViT stage 1: ViT-B/16 on Oxford 102 Flowers, the released recipe.
_base_ = [
    '../_base_/models/elastic_vitb.py',
    '../_base_/datasets/flowers102.py',
    '../_base_/schedules/eavit_100e.py',
    '../_base_/elastic_runtime.py',
]

model = dict(
    backbone=dict(
        # ViT-B/16 pretrained on ImageNet-21k, in mmpretrain's names or as
        # timm, Hugging Face or augreg (.npz) have it. A class token is
        # dropped and the final norm moves behind the pool.
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/vit-base-p16_in21k.pth',
            prefix='backbone.',
        )
    ),
    head=dict(num_classes=102),
)

# What is left in float32 on a GPU, validation and search, multiplies in TF32:
# several times faster, right to 10 bits, which hardly any label depends on.
env_cfg = dict(float32_matmul_precision='high')
default_hooks = dict(
    checkpoint=dict(interval=5, max_keep_ckpts=3, save_best='auc')
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
