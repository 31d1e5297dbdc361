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
# The router begins at random: at the backbone's rate it hardly moved, and its
# answers were up to 10 points worse than uniform widths.
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(router=dict(lr_mult=30.0)))
)
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=0.5)]
