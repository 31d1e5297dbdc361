# EuroSAT, 10 kinds of land from above, 6,000 training images, 64 px.
_base_ = ['./small_cls.py']

data_preprocessor = dict(num_classes=10)
train_dataloader = dict(dataset=dict(data_root='data/eurosat'))
val_dataloader = dict(dataset=dict(dataset=dict(data_root='data/eurosat')))
test_dataloader = dict(
    dataset=dict(
        parts=dict(test=2000, unused=None),  # minutes on a CPU
        dataset=dict(data_root='data/eurosat'),
    )
)
