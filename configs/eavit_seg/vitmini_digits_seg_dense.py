# The control of the demo: the same network, data, epochs and order of units,
# but every step trains the whole network.
_base_ = ['./vitmini_digits_seg.py']

model = dict(sampler=dict(type='eavit_mm.LargestSampler', _delete_=True))

custom_hooks = [
    dict(
        type='eavit_mm.RearrangeHook',
        criterion=dict(type='eavit_mm.ActivationCriterion'),
    ),
]
