# EA-ViT's stage 2 of a ViT-Ti at 64 px.
_base_ = ['./models/elastic_vitti.py', './schedules/adamw_vitti_stage2.py']

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.RouterHead',
        # Three of ten steps train the whole network, five one below a fifth
        # of its MACs, which costs little and needs it most.
        highest=8.0,
        skew=6.0,
        gated_every=10,
    ),
)
