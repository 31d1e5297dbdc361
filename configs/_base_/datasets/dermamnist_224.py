# DermaMNIST: lesions of the skin, 28 px, 7,007 training images.
_base_ = ['./medmnist_224.py']

of = dict(
    ann_file='dermamnist.npz',
    metainfo=dict(
        classes=[
            'actinic keratoses and intraepithelial carcinoma',
            'basal cell carcinoma',
            'benign keratosis-like lesions',
            'dermatofibroma',
            'melanoma',
            'melanocytic nevi',
            'vascular lesions',
        ]
    ),
)
train_dataloader = dict(dataset=of)
val_dataloader = dict(dataset=dict(dataset=of))
test_dataloader = dict(dataset=of)
del of
