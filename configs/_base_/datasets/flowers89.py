# Oxford Flowers-102, the 89 classes of a pack of 890 training images, 128 px.
_base_ = ['./small_cls.py']

data_preprocessor = dict(num_classes=89)
train_dataloader = dict(dataset=dict(data_root='data/flowers89'))
val_dataloader = dict(dataset=dict(dataset=dict(data_root='data/flowers89')))
test_dataloader = dict(
    dataset=dict(
        parts=dict(test=2000, unused=None),  # minutes on a CPU
        dataset=dict(data_root='data/flowers89'),
    )
)
