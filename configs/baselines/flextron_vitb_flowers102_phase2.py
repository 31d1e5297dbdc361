# Flextron, phases 2 and 3: the router alone, then both.
_base_ = ['./flextron_vitb_flowers102.py']

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.SurrogateRouter',
        budgets=['latency'],
        latency_table='work_dirs/flextron_vitb_flowers102/latency.json',
    ),
)
optim_wrapper = dict(
    paramwise_cfg=dict(
        # 1e-3 for the router.
        custom_keys={'router': dict(lr_mult=100.0, decay_mult=0.0)}
    ),
)
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=0.5)]
load_from = 'work_dirs/flextron_vitb_flowers102/epoch_100.pth'
