"""A small classifier and subnets of it to export."""

from typing import Any

import torch
from mmengine.config import Config

from benchmarks.export_cases import random_model
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


def member(
    embed_dims: int = 14,
    num_heads: tuple[int, ...] = (2, 0),
    feedforward_channels: tuple[int, ...] = (0, 7),
) -> Subnet:
    return Subnet(embed_dims, num_heads, feedforward_channels, 4)


SMALLEST = member(5, (1, 1), (1, 1))
ALL_OFF = member(8, (0, 0), (0, 0))


def config(**changes: Any) -> Config:
    """The config of a run with a small classifier."""
    model = dict(
        type='eavit_mm.ElasticImageClassifier',
        backbone=dict(
            type='eavit_mm.ElasticVisionTransformer',
            arch=ARCH,
            img_size=(8, 12),
            patch_size=4,
            space=SPACE,
        ),
        head=dict(type='LinearClsHead', num_classes=9, in_channels=24),
        sampler=dict(type='eavit_mm.LargestSampler'),
        neck=None,
    )
    return Config(dict(model=model, default_scope='mmpretrain', **changes))


def supernet(cfg: Config) -> Any:
    """A supernet whose every weight has a value of its own."""
    return random_model(cfg, 0)


def exporter(cfg: Config | None = None, **options: Any) -> Exporter:
    cfg = cfg or config()
    options = dict(dict(rounds=1, source=dict(sha256='abc')), **options)
    return Exporter(supernet(cfg), cfg, **options)
