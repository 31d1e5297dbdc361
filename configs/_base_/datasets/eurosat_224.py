# EuroSAT in RGB, ten kinds of land from above: data/EuroSAT/CLASS/*.jpg. There
# is no official split: a fifth is for the test, as in VTAB, drawn by class.
_base_ = ['./cls_224.py']

split = dict(
    type='eavit_mm.Split',
    parts=dict(test=5400, search=1000, train=None),  # of 27,000
    dataset=dict(
        type='CustomDataset',
        data_root='data/EuroSAT',
        extensions=['.jpg', '.jpeg', '.png', '.tif'],
    ),
)
train_dataloader = dict(dataset=dict(split, part='train'))
val_dataloader = dict(dataset=dict(split, part='search'))
test_dataloader = dict(dataset=dict(split, part='test'))
del split
