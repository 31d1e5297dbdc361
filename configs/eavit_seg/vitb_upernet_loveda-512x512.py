# Stage 1: ViT-B/16 with UPerNet on LoveDA, land cover seen from above. Its
# images of 1024 x 1024 pixels are read in windows, which overlap by a third.
_base_ = [
    '../_base_/models/elastic_vitb_upernet.py',
    '../_base_/datasets/loveda_search.py',
    '../_base_/eavit_seg_80k.py',
]

model = dict(
    decode_head=dict(num_classes=7),
    auxiliary_head=dict(num_classes=7),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
