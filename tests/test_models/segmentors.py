"""Segmentors with every neck and head that is described, small."""

from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from toys import images, randomise

# C = H D = 24 channels, four levels of 4 x 6 patches.
C, CLASSES = 24, 5
SIZE, OTHER_SIZE = (16, 24), (24, 20)
BACKBONE = dict(
    arch=dict(
        embed_dims=C, num_layers=4, num_heads=6, feedforward_channels=20
    ),
    img_size=SIZE,
    patch_size=4,
    out_type='featmap',
    out_indices=[0, 1, 2, 3],
    final_norm=False,
)
SPACE = dict(
    embed_dims=[5, 8, 14, 24],
    num_heads=[1, 2, 4, 6],
    feedforward_channels=[1, 7, 12, 20],
    max_off=8,
)
BN, SYNC, LN = (dict(type=t) for t in ('BN', 'SyncBN', 'mmpretrain.LN2d'))
# Heads may be narrow, and subnets of the smallest width are suffixes.
SCALA = dict(SPACE, head_dims=[1, 2, 4], suffix_smallest=True)


def neck(kind: str, out_channels: int = 10, **options: Any) -> dict[str, Any]:
    """Makes levels of its own of all levels."""
    options.setdefault('in_channels', [C] * 4)
    return dict(type=kind, out_channels=out_channels, **options)


def pyramid(norm_cfg: Any = SYNC, **options: Any) -> dict[str, Any]:
    """Passes all levels on, which it resizes."""
    return dict(
        type='Feature2Pyramid', embed_dim=C, norm_cfg=norm_cfg, **options
    )


def head(
    kind: str, channels: int = 6, in_channels: int = C, **options: Any
) -> dict[str, Any]:
    """Reads one level."""
    base = dict(channels=channels, in_channels=in_channels)
    return dict(type=f'{kind}Head', num_classes=CLASSES, **base, **options)


def many(
    kind: str, channels: int = 6, in_channels: int = C, **options: Any
) -> dict[str, Any]:
    """Reads all levels."""
    index = options.pop('in_index', [0, 1, 2, 3])
    widths: Any = [in_channels] * len(index)
    return head(kind, channels, widths, in_index=index, **options)


def uper(in_channels: int = C) -> dict[str, Any]:
    return many('UPer', 7, in_channels, pool_scales=(1, 2, 3), norm_cfg=BN)


FPN = many('FPN', 9, feature_strides=[4, 8, 16, 32])
SIDE = dict(input_transform='resize_concat')
# Parts of a model, and changes of its backbone.
FLOWS: dict[str, dict[str, Any]] = dict(
    multilevel_uper=dict(
        neck=neck('MultiLevelNeck', scales=[4, 2, 1, 0.5], norm_cfg=BN),
        decode_head=uper(10),
        auxiliary_head=head('FCN', in_channels=10, num_convs=1, in_index=2),
    ),
    multilevel_of_one=dict(
        backbone=dict(out_indices=[2]),
        neck=neck('MultiLevelNeck', C, in_channels=[C], scales=[1, 0.5]),
        decode_head=head('FCN', num_convs=1, in_index=1),
    ),
    uper=dict(
        decode_head=uper(),
        auxiliary_head=[
            head('FCN', in_index=1, concat_input=False),
            head('FCN', C, num_convs=0, norm_cfg=SYNC),
        ],
    ),
    pyramid_bn_fpn=dict(neck=pyramid(), decode_head=FPN),
    pyramid_ln_fpn=dict(neck=pyramid(LN), decode_head=FPN),
    pyramid_uper=dict(
        neck=pyramid(rescales=[2, 1, 0.5, 0.25]),
        decode_head=uper(),
        auxiliary_head=head('FCN'),
    ),
    setr_naive=dict(
        decode_head=head('SETRUP', 8, kernel_size=1, norm_cfg=BN),
        auxiliary_head=[head('SETRUP', in_index=i) for i in (0, 1)],
    ),
    setr_pup=dict(decode_head=head('SETRUP', num_convs=2, up_scale=2)),
    mla=dict(
        neck=neck('MLANeck', norm_cfg=BN, act_cfg=dict(type='ReLU')),
        decode_head=many('SETRMLA', 20, 10, mla_channels=5, up_scale=2),
        auxiliary_head=head('FCN', in_channels=10, in_index=0),
    ),
    mla_without_neck=dict(decode_head=many('SETRMLA', 20, mla_channels=5)),
    fcn=dict(decode_head=head('FCN', norm_cfg=BN)),
    fcn_plain=dict(decode_head=head('FCN', concat_input=False)),
    fcn_levels=dict(
        decode_head=many('FCN', num_convs=1, in_index=[0, 2], **SIDE)
    ),
    # A linear map of each place; of several levels, as DINOv2 is probed.
    fcn_linear=dict(
        decode_head=many('FCN', 4 * C, num_convs=0, concat_input=False, **SIDE)
    ),
    fcn_without_convs=dict(
        decode_head=head('FCN', C, num_convs=0, norm_cfg=BN)
    ),
    segmenter=dict(
        decode_head=head(
            'SegmenterMaskTransformer',
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
        BACKBONE, type='mmpretrain.VisionTransformer'
    )
    if is_elastic:
        kind = 'eavit_mm.ElasticVisionTransformer'
        backbone.update(type=kind, space=SPACE)
    for more in (parts, changes):
        backbone.update(more.get('backbone', {}))
    cfg = dict(
        type=f'{"eavit_mm.Elastic" * is_elastic}EncoderDecoder',
        data_preprocessor=dict(type='BaseDataPreprocessor'),
        test_cfg=dict(mode='whole'),
    )
    return ConfigDict({**cfg, **parts, **changes, 'backbone': backbone})


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


def outputs(model: Any, size: tuple[int, int] = SIZE) -> list[Tensor]:
    """What the decode head and all auxiliary heads give for two images."""
    levels = model.extract_feat(images(2, size).double())
    heads = getattr(model, 'auxiliary_head', ())
    if not isinstance(heads, nn.ModuleList | tuple):
        heads = [heads]
    return [head(levels) for head in (model.decode_head, *heads)]


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
