# 2,000 training images, as many as Flowers-102 has, seen as often in all as
# the 28,000: drop path keeps the supernet from learning them by heart.
_base_ = './vitmini_fashion40.py'

model = dict(backbone=dict(drop_path_rate=0.1))
# The first of the images that vitmini_fashion40.py trains on.
parts = dict(pretrain=30000, search=2000, train=2000, unused=None)
train_dataloader = dict(dataset=dict(parts=parts))
val_dataloader = dict(dataset=dict(parts=parts))
