# The same for images that are in memory, which no step of a pipeline loads.
_base_ = ['./cls_224.py']

train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline[1:]))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline[1:]))
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline[1:]))
tta_pipeline = _base_.tta_pipeline[1:]
