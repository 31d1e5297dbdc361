# EA-ViT's stage 2 of a ViT-Ti at 64 px.
_base_ = ['./models/elastic_vitti.py', './schedules/adamw_vitti_stage2.py']

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.RouterHead',
        # A quarter of the steps train the whole network, two fifths one below
        # three tenths of its MACs.
        highest=2.0,
        skew=3.0,
        gated_every=10,
    ),
)
