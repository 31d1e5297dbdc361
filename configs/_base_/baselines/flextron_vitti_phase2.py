# Flextron, phases 2 and 3: half of the time the router alone, with Gumbel
# noise, moved by a predicted loss and by latencies; then both. No front.
_base_ = ['./flextron_vitti.py']

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.SurrogateRouter',
        budgets=['latency'],
    ),
)
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=0.5)]
