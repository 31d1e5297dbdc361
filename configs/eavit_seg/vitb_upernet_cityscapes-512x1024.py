# Stage 1: ViT-B/16 with UPerNet on Cityscapes, in crops of half its height and
# width; its images are read in such windows, which overlap by a third.
_base_ = [
    '../_base_/models/elastic_vitb_upernet.py',
    '../_base_/datasets/cityscapes_search.py',
    '../_base_/eavit_seg_80k.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 1024)),
    backbone=dict(img_size=(512, 1024)),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
    test_cfg=dict(mode='slide', crop_size=(512, 1024), stride=(341, 683)),
)
