# Stage 1: ViT-B/16 with UPerNet on ADE20K.
_base_ = [
    '../_base_/models/elastic_vitb_upernet.py',
    '../_base_/datasets/ade20k_search.py',
    '../_base_/eavit_seg_80k.py',
]
