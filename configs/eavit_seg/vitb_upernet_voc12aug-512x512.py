# Stage 1: ViT-B/16 with UPerNet on PASCAL VOC 2012 with SBD.
_base_ = [
    '../_base_/models/elastic_vitb_upernet.py',
    '../_base_/datasets/voc_search.py',
    '../_base_/eavit_seg_80k.py',
]

model = dict(
    decode_head=dict(num_classes=21),
    auxiliary_head=dict(num_classes=21),
)
