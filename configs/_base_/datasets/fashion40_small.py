# Fashion-40 with 2,000 training images, as many as Flowers-102 has.
_base_ = ['./fashion40.py']

# The first of the images that fashion40.py trains on.
parts = dict(pretrain=30000, search=2000, train=2000, unused=None)
train_dataloader = dict(dataset=dict(parts=parts))
val_dataloader = dict(dataset=dict(parts=parts))
