# X = 25 widths in place of 13.
_base_ = ['./scala_vits_in1k.py']

model = dict(
    backbone=dict(
        space=dict(
            embed_dims=list(range(96, 385, 12)),
            head_dims=list(range(16, 65, 2)),
            feedforward_channels=list(range(384, 1537, 48)),
        )
    )
)
