# What every config of eavit_mm shares: mmpretrain's runtime. Written out: what
# is inherited from another package is marked with its scope, which not all of
# mmpretrain's tools take.
default_scope = 'mmpretrain'

# The host tools must import us before they load a checkpoint or mmseg.
custom_imports = dict(imports=['eavit_mm'])

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='VisualizationHook', enable=False),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
visualizer = dict(
    type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)
log_level = 'INFO'
randomness = dict(seed=0)
load_from = None
resume = False
