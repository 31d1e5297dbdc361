# The runtime of every elastic segmentor: mmseg's scope and its visualizer.
_base_ = ['./elastic_runtime.py']

default_scope = 'mmseg'
default_hooks = dict(
    visualization=dict(_delete_=True, type='SegVisualizationHook'),
)
visualizer = dict(type='SegLocalVisualizer')
tta_model = dict(type='SegTTAModel')
val_cfg = dict(metric='mIoU')
search_cfg = dict(metric='mIoU')
test_cfg = dict(metric='mIoU')
