# NWPU-RESISC45, 45 scenes from above: data/NWPU-RESISC45/CLASS/*.jpg. There is
# no official split: a fifth is for the test, as in VTAB, drawn by class.
_base_ = ['./cls_224.py']

split = dict(
    type='eavit_mm.Split',
    parts=dict(test=6300, search=900, train=None),  # of 31,500
    dataset=dict(
        type='CustomDataset',
        data_root='data/NWPU-RESISC45',
        extensions=['.jpg', '.jpeg', '.png', '.tif'],
    ),
)
train_dataloader = dict(dataset=dict(split, part='train'))
val_dataloader = dict(dataset=dict(split, part='search'))
test_dataloader = dict(dataset=dict(split, part='test'))
del split
