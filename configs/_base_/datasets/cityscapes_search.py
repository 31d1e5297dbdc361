# mmseg's Cityscapes, whose validation images are only reported. Subnets are
# chosen by training images that training leaves out.
_base_ = ['mmseg::_base_/datasets/cityscapes.py']

split = dict(
    _delete_=True,
    type='eavit_mm.Split',
    parts=dict(search=200, train=None),  # of 2,975
    dataset={{_base_.train_dataloader.dataset}},
)
train_dataloader = dict(
    batch_size=2,
    dataset=dict(split, part='train', pipeline={{_base_.train_pipeline}}),
)
val_dataloader = dict(
    dataset=dict(split, part='search', pipeline={{_base_.test_pipeline}}),
)
del split
