# X = 4 widths in place of 13.
_base_ = ['./scala_vitmini_fashion40.py']

model = dict(
    backbone=dict(
        space=dict(
            embed_dims=list(range(24, 97, 24)),
            head_dims=list(range(4, 17, 4)),
            feedforward_channels=list(range(96, 385, 96)),
        )
    )
)
