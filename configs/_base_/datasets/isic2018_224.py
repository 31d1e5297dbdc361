# ISIC 2018, task 3: lesions of the skin, seven classes. As published: in
# data/isic2018 the folders ISIC2018_Task3_{Training,Test}_{Input,GroundTruth}.
# A tenth of the training images chooses the subnets. Some lesions have several
# images, which these files do not tell: so the search measures on lesions that
# the training has seen, and its accuracies may be too high.
_base_ = ['./cls_224.py']

split = dict(
    type='eavit_mm.Split',
    parts=dict(search=1000, train=None),  # of 10,015
    dataset=dict(
        type='eavit_mm.ISIC', data_root='data/isic2018', split='Training'
    ),
)
train_dataloader = dict(dataset=dict(split, part='train'))
val_dataloader = dict(dataset=dict(split, part='search'))
test_dataloader = dict(
    dataset=dict(type='eavit_mm.ISIC', data_root='data/isic2018', split='Test')
)
del split
