# Ablation: the smaller networks learn from the next larger one alone.
_base_ = ['./scala_vitmini_fashion40.py']

model = dict(distillation=dict(task_weight=0.0))
