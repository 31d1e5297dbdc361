# Flextron, phases 2 and 3: half of the time the router alone, with Gumbel
# noise, moved by a predicted loss and by latencies; then both. No front.
_base_ = ['./flextron_vitmini_fashion40.py']

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.SurrogateRouter',
        budgets=['latency'],
        latency_table='work_dirs/flextron_vitmini_fashion40/latency.json',
    ),
)
optim_wrapper = dict(
    optimizer=dict(lr=2e-3),
    paramwise_cfg=dict(
        custom_keys={'router': dict(lr_mult=0.5, decay_mult=0.0)}
    ),
)
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=0.5)]
load_from = 'work_dirs/flextron_vitmini_fashion40/iter_10000.pth'
