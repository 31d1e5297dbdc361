# Small sets of photographs in folders, PART/CLASS/*.webp or another kind of
# image, whose data_root others name. Subnets are chosen by images of the
# official val part, which training does not see.
_base_ = ['./cls_64.py']

parts = dict(search=400, unused=None)
extensions = ['.webp', '.jpg', '.jpeg', '.png', '.bmp', '.tif']

train_dataloader = dict(
    dataset=dict(
        type='CustomDataset', data_prefix='train', extensions=extensions
    )
)
val_dataloader = dict(
    dataset=dict(
        type='eavit_mm.Split',
        part='search',
        parts=parts,
        dataset=dict(
            type='CustomDataset', data_prefix='val', extensions=extensions
        ),
    )
)
test_dataloader = dict(
    dataset=dict(
        type='eavit_mm.Split',
        part='test',
        parts=dict(test=None),
        dataset=dict(
            type='CustomDataset', data_prefix='test', extensions=extensions
        ),
    )
)
