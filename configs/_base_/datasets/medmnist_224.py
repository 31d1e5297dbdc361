# MedMNIST's sets, in data/medmnist/*.npz, which others name. Images of the
# official val part choose the subnets.
_base_ = ['./arrays_224.py']

of = dict(type='eavit_mm.MedMNIST', data_root='data/medmnist')
train_dataloader = dict(dataset=dict(of, split='train'))
val_dataloader = dict(
    dataset=dict(
        type='eavit_mm.Split',
        part='search',
        parts=dict(search=1000, unused=None),
        dataset=dict(of, split='val'),
    )
)
test_dataloader = dict(dataset=dict(of, split='test'))
del of
