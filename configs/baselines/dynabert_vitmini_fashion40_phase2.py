# DynaBERT, depth phase: four widths at three depths, all twelve in a step,
# learn from the network of the width phase at full width. A search measures
# these networks alone; of those that fit the best one answers a budget.
_base_ = ['./dynabert_vitmini_fashion40.py']

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
load_from = 'work_dirs/dynabert_vitmini_fashion40/iter_10000.pth'
