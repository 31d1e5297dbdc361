# Brain tumour MRI, 4 classes, 3,917 gray training images, 96 px.
_base_ = ['./small_cls.py']

data_preprocessor = dict(num_classes=4)
train_dataloader = dict(dataset=dict(data_root='data/btmri'))
val_dataloader = dict(dataset=dict(dataset=dict(data_root='data/btmri')))
test_dataloader = dict(dataset=dict(dataset=dict(data_root='data/btmri')))
