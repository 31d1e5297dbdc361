# DynaBERT on Fashion-40, width phase: heads and FFN at four widths, all of
# them in a step, learn from the fine-tuned network alone.
_base_ = ['../eavit/vitmini_fashion40.py']

model = dict(
    backbone=dict(
        init_cfg=None,
        space=dict(
            _delete_=True,
            embed_dims=[96],
            num_heads=[2, 3, 5, 6],
            feedforward_channels=[96, 192, 288, 384],
            shared=['num_heads', 'feedforward_channels'],
            ties=[['num_heads', 'feedforward_channels']],
            max_off=6,  # the depth phase keeps half of the layers or more
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
optim_wrapper = dict(optimizer=dict(lr=2e-3))
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
load_from = 'work_dirs/dense_vitmini_fashion40/iter_10000.pth'
