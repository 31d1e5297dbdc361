# Textures, from a ViT-Ti/16 pretrained on ImageNet-1k.
_base_ = [
    '../_base_/models/elastic_vitti.py',
    '../_base_/datasets/dtd10.py',
    '../_base_/schedules/adamw_vitti_stage1.py',
]

model = dict(head=dict(num_classes=10))
