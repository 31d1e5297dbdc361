# EA-ViT stage 1: ViT-B/16 on Oxford-IIIT Pets, the released recipe.
_base_ = [
    '../_base_/models/elastic_vitb_augreg.py',
    '../_base_/datasets/pets_224.py',
    '../_base_/schedules/eavit_100e.py',
]

data_preprocessor = dict(num_classes=37)
model = dict(head=dict(num_classes=37))
