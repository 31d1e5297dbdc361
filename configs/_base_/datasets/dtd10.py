# Describable Textures, 10 classes, 400 training images, 128 px.
_base_ = ['./small_cls.py']

data_preprocessor = dict(num_classes=10)
train_dataloader = dict(dataset=dict(data_root='data/dtd10'))
val_dataloader = dict(
    dataset=dict(
        parts=dict(_delete_=True, search=400),  # all that there are
        dataset=dict(data_root='data/dtd10'),
    )
)
test_dataloader = dict(dataset=dict(dataset=dict(data_root='data/dtd10')))
