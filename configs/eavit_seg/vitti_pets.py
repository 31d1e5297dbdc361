# Silhouettes of pets, from a ViT-Ti/16 pretrained on ImageNet-1k; measured in
# docs/benchmark/real_seg.md.
_base_ = [
    '../_base_/models/elastic_vitti_seg.py',
    '../_base_/datasets/pets_seg.py',
    '../_base_/schedules/adamw_vitti_seg.py',
]

model = dict(decode_head=dict(num_classes=3))
