# A folder of images in ten classes, from a ViT-Ti/16 of ImageNet-1k at 64 px.
_base_ = [
    '../_base_/models/elastic_vitti.py',
    '../_base_/datasets/folder_64.py',
    '../_base_/schedules/adamw_vitti_stage1.py',
]

data_preprocessor = dict(num_classes=10)
model = dict(head=dict(num_classes=10))
