# The runtime of every supernet.
_base_ = ['./default_runtime.py']

default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(type='eavit_mm.AtomicCheckpointHook'),
    reproducible=dict(type='eavit_mm.ReproducibleHook'),
    supernet_meta=dict(type='eavit_mm.SupernetMetaHook'),
    teacher=dict(type='eavit_mm.TeacherHook'),
)
model_wrapper_cfg = dict(type='eavit_mm.ElasticDistributedDataParallel')
val_cfg = dict(
    type='eavit_mm.SubnetValLoop',
    subnets=dict(largest=1.0, half=0.5, smallest='smallest'),
)
search_cfg = dict(type='eavit_mm.ParetoSearchLoop', metric='accuracy/top1')
test_cfg = dict(
    type='eavit_mm.SubnetTestLoop',
    subnets=dict(largest=1.0, half=0.5, smallest='smallest'),
)
