# Stage 1: ViT-B/8 with a light pyramid on the vessels of DRIVE, for half
# of the recipe's length, by the mean Dice that mmseg reports of them.
_base_ = [
    '../_base_/models/elastic_vitb8_fpn.py',
    '../_base_/datasets/drive_search.py',
    '../_base_/eavit_seg_80k.py',
]

train_cfg = dict(max_iters=40000)
val_cfg = dict(metric='mDice')
search_cfg = dict(metric='mDice')
test_cfg = dict(metric='mDice')
