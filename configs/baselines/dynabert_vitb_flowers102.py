# DynaBERT on Flowers-102, width phase.
_base_ = ['../eavit/vitb_flowers.py']

model = dict(
    backbone=dict(
        init_cfg=None,
        space=dict(
            _delete_=True,
            embed_dims=[768],
            num_heads=[3, 6, 9, 12],
            feedforward_channels=[768, 1536, 2304, 3072],
            shared=['num_heads', 'feedforward_channels'],
            ties=[['num_heads', 'feedforward_channels']],
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
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
custom_hooks = [
    dict(
        type='eavit_mm.RearrangeHook',
        num_batches=127,  # 1,016 of the 1,020 training images
        batch_size=8,
        criterion=dict(type='eavit_mm.TaylorCriterion'),
    ),
]
default_hooks = dict(supernet_meta=dict(check_space=False))
# What the depth phase has not trained yet is not validated.
subnets = dict(largest=1.0, half=0.5, smallest=0.25)
val_cfg = dict(subnets=subnets)
test_cfg = dict(subnets=subnets)
load_from = 'work_dirs/dense_vitb_flowers102/epoch_100.pth'
