# mmseg's PASCAL VOC 2012 with the annotations of SBD, whose validation images
# are only reported. Subnets are chosen by images of VOC's own train list that
# training leaves out; mmseg's aug.txt has none of that list.
_base_ = ['mmseg::_base_/datasets/pascal_voc12_aug.py']

split = dict(
    type='eavit_mm.Split',
    parts=dict(search=200, train=None),  # of 1,464
    dataset={{_base_.dataset_train}},
)
train = dict(split, part='train', pipeline={{_base_.train_pipeline}})
search = dict(split, part='search', pipeline={{_base_.test_pipeline}})
train_dataloader = dict(
    batch_size=2, dataset=dict(datasets=[train, {{_base_.dataset_aug}}])
)
val_dataloader = dict(dataset=dict(search, _delete_=True))
del split, train, search
