# A linear map of each token of a frozen ViT-B/16, as DINOv2 is probed. What
# there is a BatchNorm for in its head the network's own final norm does.
# Nothing teaches a frozen network to be narrow: its box keeps all channels,
# three quarters of the heads and most of the hidden units, which importance
# alone can choose.
_base_ = ['./elastic_vitb_upernet.py']

model = dict(
    backbone=dict(
        out_indices=[11],
        final_norm=True,
        frozen_stages=12,
        space=dict(
            _delete_=True,
            embed_dims=[768],
            num_heads=[9, 10, 11, 12],
            feedforward_channels=[1920, 2304, 2688, 3072],
        ),
    ),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='FCNHead',
        in_channels=768,
        in_index=0,
        channels=768,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=150,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
    auxiliary_head=None,
)
