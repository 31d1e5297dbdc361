# Stage 2: the router alone for 1,000 iterations, then together with the
# network. Needs the checkpoint of stage 1 and the front of its search.
_base_ = ['./vitb_upernet_cityscapes-512x1024.py']

stage1 = '{{fileDirname}}/vitb_upernet_cityscapes-512x1024.py'

model = dict(
    backbone=dict(init_cfg=None),
    router=dict(
        type='eavit_mm.RouterHead',
        part='backbone',  # neck and head cost most, whatever it is
        front='work_dirs/{{fileBasenameNoExtension}}/search/pareto.json',
    ),
)
param_scheduler = {{_base_.stage2_schedule}}
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=1000)]
load_from = 'work_dirs/{{fileBasenameNoExtension}}/stage1/iter_80000.pth'
