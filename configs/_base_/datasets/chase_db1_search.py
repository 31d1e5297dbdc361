# mmseg's CHASE-DB1, retinas of 999 x 960 pixels, whose validation images are
# only reported. They are both eyes of 14 children, and two eyes of one child
# are much alike: of the ten children to train on, the last two choose subnets.
_base_ = ['mmseg::_base_/datasets/chase_db1.py']

train_dataloader = dict(
    batch_size=2,
    dataset=dict(dataset=dict(indices=16)),  # of 20
)
val_dataloader = dict(
    dataset=dict(
        indices=-4,
        data_prefix=dict(
            img_path='images/training', seg_map_path='annotations/training'
        ),
    )
)
