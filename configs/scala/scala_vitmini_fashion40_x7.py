# X = 7 widths in place of 13.
_base_ = ['./scala_vitmini_fashion40.py']

model = dict(
    backbone=dict(
        space=dict(
            embed_dims=list(range(24, 97, 12)),
            head_dims=list(range(4, 17, 2)),
            feedforward_channels=list(range(96, 385, 48)),
        )
    )
)
