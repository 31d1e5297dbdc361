# A linear head on ADE20K, trained for all subnets of a frozen ViT-B/16 from
# the start: no curriculum protects what does not change. Rates are those of
# DINOv2's probe.
_base_ = [
    '../_base_/models/elastic_vitb_linear.py',
    '../_base_/datasets/ade20k_search.py',
    '../_base_/eavit_seg_80k.py',
]

optim_wrapper = dict(
    optimizer=dict(lr=1e-3, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(router=dict(lr_mult=1.0))),
)
train_cfg = dict(max_iters=40000)
custom_hooks = [
    dict(
        type='eavit_mm.RearrangeHook',
        criterion=dict(type='eavit_mm.ActivationCriterion'),
    )
]
