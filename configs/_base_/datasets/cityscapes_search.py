# mmseg's Cityscapes, whose validation images are only reported. Subnets are
# chosen by training images that training leaves out.
_base_ = ['mmseg::_base_/datasets/cityscapes.py']

parts = dict(search=200, train=None)  # of 2,975

train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        _delete_=True,
        type='eavit_mm.Split',
        part='train',
        parts=parts,
        dataset={{_base_.train_dataloader.dataset}},
        pipeline={{_base_.train_pipeline}},
    ),
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='eavit_mm.Split',
        part='search',
        parts=parts,
        dataset={{_base_.train_dataloader.dataset}},
        pipeline={{_base_.test_pipeline}},
    ),
)
