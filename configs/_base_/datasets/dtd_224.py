# Describable Textures, the first of its ten divisions, in data/dtd. As the
# release, training takes the 1,880 images of train alone; those of val, which
# the release does not use, choose the subnets.
_base_ = ['./cls_224.py']

train_dataloader = dict(
    dataset=dict(type='DTD', data_root='data/dtd', split='train')
)
val_dataloader = dict(
    dataset=dict(type='DTD', data_root='data/dtd', split='val')
)
test_dataloader = dict(
    dataset=dict(type='DTD', data_root='data/dtd', split='test')
)
