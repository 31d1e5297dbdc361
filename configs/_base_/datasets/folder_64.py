# Images of one's own in data/images, laid out as docs/your_data.md says, which
# tools/adapt.py --data takes from elsewhere. A tenth of those to train on is
# for the search, and a fifth for the test where there is no test folder.
_base_ = ['./cls_64.py']

images = dict(type='eavit_mm.ImageFolder', data_prefix='data/images')
train_dataloader = dict(dataset=dict(images, part='train'))
val_dataloader = dict(dataset=dict(images, part='search'))
test_dataloader = dict(dataset=dict(images, part='test'))
del images
