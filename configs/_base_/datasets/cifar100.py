# CIFAR-100, 45,000 training images, 32 px.
_base_ = ['./small_cls.py']

data_preprocessor = dict(num_classes=100)
train_dataloader = dict(dataset=dict(data_root='data/cifar100'))
val_dataloader = dict(dataset=dict(dataset=dict(data_root='data/cifar100')))
test_dataloader = dict(
    dataset=dict(
        parts=dict(test=2000, unused=None),  # minutes on a CPU
        dataset=dict(data_root='data/cifar100'),
    )
)
