# The whole network alone: the control of the others, and DynaBERT's first
# teacher; at two thirds of their learning rate.
_base_ = ['../models/elastic_vitti.py', '../schedules/adamw_vitti.py']

model = dict(sampler=dict(_delete_=True, type='eavit_mm.LargestSampler'))
optim_wrapper = dict(optimizer=dict(lr=2e-4))
custom_hooks = []
