# Ablation: between the ends two of any widths (the sandwich rule).
_base_ = ['./scala_vitmini_fashion40.py']

model = dict(
    sampler=dict(
        type='eavit_mm.SandwichSampler',
        others=dict(type='eavit_mm.LadderSampler', p_jitter=0.0),
    )
)
