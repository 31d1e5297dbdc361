"""Segmentors with every neck and head that is described, small."""

from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from toys import images, randomise

import eavit_mm  # noqa: F401

# C = H D = 24 channels, four levels of 4 x 6 patches.
C, LEVELS, CLASSES = 24, 4, 5
ARCH = dict(embed_dims=C, num_layers=4, num_heads=6, feedforward_channels=20)
SPACE = dict(
    embed_dims=[5, 8, 14, 24],
    num_heads=[1, 2, 4, 6],
    feedforward_channels=[1, 7, 12, 20],
    max_off=8,
)
SIZE, OTHER_SIZE = (16, 24), (24, 20)
BN, SYNC, LN2D = (
    dict(type=kind) for kind in ('BN', 'SyncBN', 'mmpretrain.LN2d')
)
# Options of a head that reads all levels; those of a backbone or of a neck.
ALL = dict(in_channels=[C] * LEVELS, in_index=[0, 1, 2, 3])
OWN = dict(ALL, in_channels=[10] * LEVELS)


def fcn(in_channels: Any = C, **options: Any) -> dict[str, Any]:
    return dict(type='FCNHead', in_channels=in_channels, **options)


def setr(**options: Any) -> dict[str, Any]:
    return dict(type='SETRUPHead', in_channels=C, **options)


UPER = dict(type='UPerHead', channels=7, pool_scales=(1, 2, 3), norm_cfg=BN)
FPN = dict(type='FPNHead', feature_strides=[4, 8, 16, 32], channels=9, **ALL)
LINEAR = fcn([C] * LEVELS, channels=4 * C, in_index=[0, 1, 2, 3], num_convs=0)
FLOWS: dict[str, dict[str, Any]] = dict(
    multilevel_uper=dict(
        neck=dict(
            type='MultiLevelNeck',
            in_channels=[C] * LEVELS,
            out_channels=10,
            scales=[4, 2, 1, 0.5],
            norm_cfg=BN,
        ),
        decode_head=dict(UPER, **OWN),
        auxiliary_head=fcn(10, channels=6, num_convs=1, in_index=2),
    ),
    multilevel_of_one=dict(
        backbone=dict(out_indices=[2]),
        neck=dict(
            type='MultiLevelNeck',
            in_channels=[C],
            out_channels=C,
            scales=[1, 0.5],
        ),
        decode_head=fcn(channels=6, num_convs=1, in_index=1),
    ),
    uper=dict(
        decode_head=dict(UPER, **ALL),
        auxiliary_head=[
            fcn(channels=6, in_index=1, concat_input=False),
            fcn(channels=C, num_convs=0, norm_cfg=SYNC),
        ],
    ),
    pyramid_bn_fpn=dict(
        neck=dict(type='Feature2Pyramid', embed_dim=C, norm_cfg=SYNC),
        decode_head=FPN,
    ),
    pyramid_ln_fpn=dict(
        neck=dict(type='Feature2Pyramid', embed_dim=C, norm_cfg=LN2D),
        decode_head=FPN,
    ),
    pyramid_small_uper=dict(
        neck=dict(
            type='Feature2Pyramid', embed_dim=C, rescales=[2, 1, 0.5, 0.25]
        ),
        decode_head=dict(UPER, **ALL),
        auxiliary_head=fcn(channels=6),
    ),
    setr_naive=dict(
        decode_head=setr(channels=8, kernel_size=1, norm_cfg=BN),
        auxiliary_head=[setr(channels=6, in_index=i) for i in (0, 1)],
    ),
    setr_pup=dict(
        decode_head=setr(channels=8, num_convs=2, up_scale=2),
        auxiliary_head=setr(channels=6, in_index=2),
    ),
    mla=dict(
        neck=dict(
            type='MLANeck',
            in_channels=[C] * LEVELS,
            out_channels=10,
            norm_cfg=BN,
            act_cfg=dict(type='ReLU'),
        ),
        decode_head=dict(
            type='SETRMLAHead', channels=20, mla_channels=5, up_scale=2, **OWN
        ),
        auxiliary_head=fcn(10, channels=6, in_index=0, concat_input=False),
    ),
    mla_without_neck=dict(
        decode_head=dict(
            type='SETRMLAHead', channels=20, mla_channels=5, **ALL
        )
    ),
    fcn=dict(decode_head=fcn(channels=7, norm_cfg=BN)),
    fcn_plain=dict(decode_head=fcn(channels=7, concat_input=False)),
    fcn_levels=dict(
        decode_head=fcn(
            [C] * 2,
            channels=7,
            num_convs=1,
            in_index=[0, 2],
            input_transform='resize_concat',
        )
    ),
    # A linear map of each place; of several levels, as DINOv2 is probed.
    fcn_linear=dict(
        decode_head=dict(
            LINEAR, input_transform='resize_concat', concat_input=False
        )
    ),
    fcn_without_convs=dict(
        decode_head=fcn(channels=C, num_convs=0, norm_cfg=BN)
    ),
    segmenter=dict(
        decode_head=dict(
            type='SegmenterMaskTransformerHead',
            in_channels=C,
            channels=C,
            num_layers=2,
            num_heads=3,
            embed_dims=12,
        )
    ),
)


def config(
    parts: dict[str, Any] | str, is_elastic: bool = True, **changes: Any
) -> ConfigDict:
    """The config of a segmentor, elastic or stock.

    Args:
        parts: Neck and heads, or their name in :data:`FLOWS`.
        is_elastic: Or the stock segmentor and backbone.
        **changes: Of the model; those of the backbone are added to it.
    """
    parts = FLOWS[parts] if isinstance(parts, str) else parts
    backbone: dict[str, Any] = dict(
        type='mmpretrain.VisionTransformer',
        arch=ARCH,
        img_size=SIZE,
        patch_size=4,
        out_type='featmap',
        out_indices=list(range(LEVELS)),
        final_norm=False,
    )
    if is_elastic:
        kind = 'eavit_mm.ElasticVisionTransformer'
        backbone.update(type=kind, space=SPACE)
    for more in (parts, changes):
        backbone.update(more.get('backbone', {}))
    cfg = ConfigDict(
        type=f'{"eavit_mm.Elastic" * is_elastic}EncoderDecoder',
        data_preprocessor=dict(type='BaseDataPreprocessor'),
        test_cfg=dict(mode='whole'),
    )
    cfg.update({**parts, **changes, 'backbone': backbone})
    auxiliary = cfg.get('auxiliary_head', [])
    if not isinstance(auxiliary, list):
        auxiliary = [auxiliary]
    for head in (cfg.decode_head, *auxiliary):
        head.setdefault('num_classes', CLASSES)
    return cfg


def segmentor(cfg: ConfigDict | str, seed: int = 0) -> Any:
    """In float64 and evaluation mode, every weight with its own value."""
    cfg = config(cfg) if isinstance(cfg, str) else cfg
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg)
    randomise(model, seed).double().eval()
    rng = torch.Generator().manual_seed(seed)
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            noise = torch.rand(buffer.shape, generator=rng).double()
            buffer.copy_(noise + float('var' in name))
    return model


def heads_of(model: Any) -> list[nn.Module]:
    """Decode head and auxiliary heads."""
    others = getattr(model, 'auxiliary_head', ())
    if not isinstance(others, nn.ModuleList | tuple):
        others = [others]
    return [model.decode_head, *others]


def outputs(model: Any, x: Tensor) -> list[Tensor]:
    """What all heads give."""
    levels = model.extract_feat(x)
    return [head(levels) for head in heads_of(model)]


def batch_of(
    number: int, size: tuple[int, int] = SIZE, batch: int = 2
) -> dict[str, Any]:
    """A data batch, a row of whose labels is to be ignored."""
    rng = torch.Generator().manual_seed(1000 + number)
    samples = []
    for _ in range(batch):
        labels = torch.randint(CLASSES, (1, *size), generator=rng)
        labels[:, 0] = 255
        sample = SegDataSample(gt_sem_seg=PixelData(data=labels))
        sample.set_metainfo(dict(img_shape=size, ori_shape=size))
        samples.append(sample)
    inputs = images(batch, size, seed=number).double()
    return dict(inputs=inputs, data_samples=samples)
