# DynaBERT, width phase. Half of three heads and three quarters are two, so
# heads and FFN go together in the list and cannot be tied in the space.
_base_ = ['../models/elastic_vitti.py', '../schedules/adamw_vitti.py']

model = dict(
    backbone=dict(
        init_cfg=None,
        space=dict(
            _delete_=True,
            embed_dims=[192],
            num_heads=[1, 2, 3],
            feedforward_channels=[192, 384, 576, 768],
            shared=['num_heads', 'feedforward_channels'],
            max_off=12,  # the depth phase keeps half of the layers or more
        ),
    ),
    sampler=dict(
        _delete_=True,
        type='eavit_mm.FixedListSampler',
        subnets=[0.25, 0.5, 0.75, 1.0],
        num=None,
    ),
    distillation=dict(
        type='eavit_mm.FrozenDistillation', task_weight=0.0, hidden_weight=0.1
    ),
)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
custom_hooks = [
    dict(
        type='eavit_mm.RearrangeHook',
        num_batches=64,
        batch_size=8,
        criterion=dict(type='eavit_mm.TaylorCriterion'),
    ),
]
default_hooks = dict(supernet_meta=dict(check_space=False))
# What the depth phase has not trained yet is not validated.
subnets = dict(largest=1.0, half=0.5, smallest=0.25)
val_cfg = dict(subnets=subnets)
test_cfg = dict(subnets=subnets)
