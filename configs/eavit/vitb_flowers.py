# EA-ViT stage 1: ViT-B/16 on Oxford 102 Flowers, the released recipe.
_base_ = [
    '../_base_/models/elastic_vitb_augreg.py',
    '../_base_/datasets/flowers102.py',
    '../_base_/schedules/eavit_100e.py',
]

data_preprocessor = dict(num_classes=102)
model = dict(head=dict(num_classes=102))
