# Oxford 102 Flowers, in data/Flowers102. As the release, training takes the
# 1,020 images of train alone; the 1,020 of val, which the release does not
# use, choose the subnets.
_base_ = ['./cls_224.py']

train_dataloader = dict(
    dataset=dict(
        type='eavit_mm.Flowers102', data_root='data/Flowers102', split='train'
    )
)
val_dataloader = dict(
    dataset=dict(
        type='eavit_mm.Flowers102', data_root='data/Flowers102', split='val'
    )
)
test_dataloader = dict(
    dataset=dict(
        type='eavit_mm.Flowers102', data_root='data/Flowers102', split='test'
    )
)
