"""Twelve small classifiers and one subnet of each to export."""

from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

import eavit_mm  # noqa: F401
from eavit_mm.export.directory import Exporter
from eavit_mm.space import Subnet

torch.set_num_threads(1)

# C = H D = 24 channels, N = 2 x 3 patches and a class token.
ARCH = dict(embed_dims=24, num_layers=2, num_heads=6, feedforward_channels=20)
SPACE = dict(
    embed_dims=[5, 8, 14, 24],
    num_heads=[1, 2, 4, 6],
    feedforward_channels=[1, 7, 12, 20],
    max_off=4,
)
SWIGLU = dict(
    layer_cfgs=dict(ffn_type='swiglu_fused', feedforward_channels=32),
    space=dict(SPACE, feedforward_channels=[1, 7, 12, 24]),
)
POOL = dict(out_type='avg_featmap', with_cls_token=False)
MAP = dict(out_type='featmap')
HIDDEN = dict(type='VisionTransformerClsHead', hidden_dim=15)
STACKED = dict(type='StackedLinearClsHead', mid_channels=[11, 13])


def member(
    embed_dims: int = 14,
    num_heads: tuple[int, ...] = (2, 0),
    feedforward_channels: tuple[int, ...] = (0, 7),
) -> Subnet:
    return Subnet(embed_dims, num_heads, feedforward_channels, 4)


LARGEST = member(24, (6, 6), (20, 20))
SMALLEST = member(5, (1, 1), (1, 1))
ALL_OFF = member(8, (0, 0), (0, 0))
# Backbone, rest of the model, subnet.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], Subnet]] = dict(
    cls_token=({}, {}, member()),
    pool=(POOL, {}, member()),
    pool_behind_norm=(dict(POOL, final_norm=False), {}, member(8)),
    map=(MAP, dict(neck=dict(type='GlobalAveragePooling')), member()),
    largest=({}, {}, LARGEST),
    smallest=(POOL, {}, SMALLEST),
    all_off=({}, {}, ALL_OFF),
    swiglu=(
        dict(SWIGLU, layer_scale_init_value=0.3),
        dict(head=HIDDEN),
        member(14, (2, 6), (12, 7)),
    ),
    pre_norm=(dict(pre_norm=True, qkv_bias=False), {}, member(5)),
    patch_norm=(
        dict(patch_cfg=dict(norm_cfg=dict(type='LN'))),
        dict(head=STACKED),
        member(24, (1, 6), (0, 20)),
    ),
    layer_scale=(
        dict(layer_scale_init_value=0.3, out_indices=[0, 1]),
        {},
        member(8, (0, 2), (7, 0)),
    ),
    overlapping=(
        dict(patch_cfg=dict(stride=3, padding=1), in_channels=1),
        {},
        member(14, (4, 4), (12, 7)),
    ),
)


def config(name: str = 'cls_token', **changes: Any) -> Config:
    """The config of a run with one of the classifiers."""
    backbone, rest, _ = CASES[name]
    space = backbone.get('space', SPACE)
    model = dict(
        type='eavit_mm.ElasticImageClassifier',
        backbone=dict(
            dict(arch=ARCH, img_size=(8, 12), patch_size=4, space=space),
            type='eavit_mm.ElasticVisionTransformer',
            **{k: v for k, v in backbone.items() if k != 'space'},
        ),
        head=dict(
            dict(type='LinearClsHead', num_classes=9, in_channels=24),
            **{k: v for k, v in rest.get('head', {}).items() if k != 'type'},
        ),
        sampler=dict(type='eavit_mm.LargestSampler'),
        neck=rest.get('neck'),
    )
    if 'head' in rest:
        model['head']['type'] = rest['head']['type']
    return Config(dict(model=model, default_scope='mmpretrain', **changes))


def supernet(cfg: Config, seed: int = 0) -> Any:
    """A supernet whose every weight has a value of its own."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
    rng = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        noise = 0.3 * torch.randn(p.shape, generator=rng)
        is_scale = name.rsplit('.', 1)[-1] == 'weight' and p.ndim == 1
        p.data.copy_(noise + float(is_scale))
    model.eval()
    return model


def exporter(name: str = 'cls_token', **options: Any) -> Exporter:
    cfg = config(name)
    options = dict(dict(rounds=1, source=dict(sha256='abc')), **options)
    return Exporter(supernet(cfg), cfg, **options)
