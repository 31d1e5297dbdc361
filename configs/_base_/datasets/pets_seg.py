# Silhouettes of Oxford-IIIT Pets: labels are those of its trimaps less one.
# Subnets are chosen by training images that training leaves out.
_base_ = ['./small_seg.py']

parts = dict(search=50, train=None)
of_pets = dict(
    data_root='data/pets_seg',
    metainfo=dict(classes=['pet', 'background', 'border']),
)
train_set = dict(
    type='BaseSegDataset',
    data_prefix={{_base_.train_dataloader.dataset.data_prefix}},
    **of_pets,
)

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='eavit_mm.Split',
        part='train',
        parts=parts,
        dataset=train_set,
        pipeline={{_base_.train_pipeline}},
    )
)
val_dataloader = dict(dataset=dict(parts=parts, dataset=train_set))
test_dataloader = dict(dataset=of_pets)
