# PathMNIST: tissue of the colon, 28 px, 89,996 training images.
_base_ = ['./medmnist_224.py']

of = dict(
    ann_file='pathmnist.npz',
    metainfo=dict(
        classes=[
            'adipose',
            'background',
            'debris',
            'lymphocytes',
            'mucus',
            'smooth muscle',
            'normal colon mucosa',
            'cancer-associated stroma',
            'colorectal adenocarcinoma epithelium',
        ]
    ),
)
train_dataloader = dict(dataset=of)
val_dataloader = dict(dataset=dict(dataset=of))
test_dataloader = dict(dataset=of)
del of
