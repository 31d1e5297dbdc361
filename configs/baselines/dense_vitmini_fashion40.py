# The whole network alone: the control of the others, and DynaBERT's first
# teacher. Half of their learning rate: it gains nothing from more.
_base_ = ['../eavit/vitmini_fashion40.py']

model = dict(sampler=dict(_delete_=True, type='eavit_mm.LargestSampler'))
optim_wrapper = dict(optimizer=dict(lr=2e-3))
custom_hooks = []
