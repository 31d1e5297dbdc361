# EA-ViT stage 1: ViT-B/16 on ISIC 2018 (skin), the released recipe.
_base_ = [
    '../_base_/models/elastic_vitb_augreg.py',
    '../_base_/datasets/isic2018_224.py',
    '../_base_/schedules/eavit_100e.py',
]

data_preprocessor = dict(num_classes=7)
model = dict(head=dict(num_classes=7))
