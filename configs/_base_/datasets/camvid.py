# CamVid with 11 classes; void is 255. Subnets are chosen by images of its
# validation part: neighbours in its videos would be in the training's.
_base_ = ['./small_seg.py']

of_camvid = dict(
    data_root='data/camvid',
    metainfo=dict(
        classes=[
            'sky',
            'building',
            'pole',
            'road',
            'pavement',
            'tree',
            'signsymbol',
            'fence',
            'car',
            'pedestrian',
            'bicyclist',
        ]
    ),
)

train_dataloader = dict(dataset=of_camvid)
val_dataloader = dict(
    dataset=dict(parts=dict(search=100, unused=None), dataset=of_camvid)
)
test_dataloader = dict(dataset=of_camvid)
