# DynaBERT on Flowers-102, depth phase: twelve networks in a step.
_base_ = ['./dynabert_vitb_flowers102.py']

named = {
    f'w{100 * width:.0f}_d{100 * depth:.0f}': dict(widths=width, depth=depth)
    for depth in (1.0, 0.75, 0.5)
    for width in (1.0, 0.75, 0.5, 0.25)
}
listed = dict(
    type='eavit_mm.FixedListSampler', subnets=list(named.values()), num=None
)
model = dict(
    sampler=dict(_delete_=True, **listed),
    distillation=dict(hidden_weight=1.0),
)
val_cfg = dict(subnets=dict(_delete_=True, **named))
test_cfg = dict(subnets=dict(_delete_=True, **named))
search_cfg = dict(
    max_evaluations=len(named),
    algorithm=dict(type='eavit_mm.RandomSearch', sampler=listed),
)
load_from = 'work_dirs/dynabert_vitb_flowers102/epoch_100.pth'
