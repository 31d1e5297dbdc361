# ViT-mini in Scala's X = 13 widths, all but the number of heads at once.
_base_ = ['./elastic_vitmini.py']

model = dict(
    backbone=dict(
        space=dict(
            _delete_=True,
            embed_dims=list(range(24, 97, 6)),
            head_dims=list(range(4, 17)),
            num_heads=[6],
            feedforward_channels=list(range(96, 385, 24)),
            ties=[['embed_dims', 'head_dims', 'feedforward_channels']],
            suffix_smallest=True,
        )
    ),
    sampler=dict(_delete_=True, type='eavit_mm.StableSampler'),
    distillation=dict(type='eavit_mm.ProgressiveDistillation'),
)
