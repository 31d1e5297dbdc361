# EA-ViT stage 1: ViT-S/16 on a folder of images in ten classes, the released
# recipe.
_base_ = [
    '../_base_/models/elastic_vits_augreg.py',
    '../_base_/datasets/folder_224.py',
    '../_base_/schedules/eavit_100e.py',
]

data_preprocessor = dict(num_classes=10)
model = dict(head=dict(num_classes=10))
