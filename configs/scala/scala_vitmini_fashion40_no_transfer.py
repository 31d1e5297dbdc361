# Ablation: the largest network teaches all others (universally slimmable).
_base_ = ['./scala_vitmini_fashion40.py']

model = dict(distillation=dict(type='eavit_mm.InPlaceDistillation'))
