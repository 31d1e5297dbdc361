# Ablation: the smallest network is a prefix, as all others.
_base_ = ['./scala_vitmini_fashion40.py']

model = dict(backbone=dict(space=dict(suffix_smallest=False)))
