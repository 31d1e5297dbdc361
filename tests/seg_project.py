"""A small segmentor with a BatchNorm, and its images in real files."""

import runpy
import sys
from pathlib import Path
from typing import Any

import cv2
import mmseg
import numpy as np
import pytest
import torch
from tool_runs import ROOT

STOCK = Path(mmseg.__file__).parent / '.mim' / 'tools'
NAMES, COLOURS = ['sky', 'sea', 'land'], [[9, 9, 200], [0, 90, 90], [70, 9, 0]]
CONFIG = """
_base_ = [{runtime!r}]
read = [dict(type='LoadImageFromFile', color_type={colours!r})]
ends = [dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
test_pipeline = [*read, *ends]
tta_pipeline = [*read, dict(type='TestTimeAug', transforms=[
    [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
    *[[end] for end in ends]])]
train_pipeline = [*test_pipeline]
train_pipeline[2:2] = [dict(type='RandomCrop', crop_size=(16, 16))]
data = dict(
    type='BaseSegDataset', data_root={root!r}, img_suffix='.png',
    metainfo=dict(classes={names!r}, palette={palette!r}))
train_dataloader = dict(
    batch_size=2, num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(data, pipeline=train_pipeline, data_prefix=dict(
        img_path='images/train', seg_map_path='labels/train')))
val_dataloader = dict(
    batch_size=1, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(data, pipeline=test_pipeline, data_prefix=dict(
        img_path='images/val', seg_map_path='labels/val')))
test_dataloader = dict(val_dataloader, dataset=dict(
    data, pipeline=test_pipeline, data_prefix=dict(
        img_path='images/test', seg_map_path='labels/test')))
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
head = dict(
    type='FCNHead', in_channels=24, channels=8, num_convs=1, num_classes=3,
    align_corners=False)
model = dict(
    type='eavit_mm.ElasticEncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', size=(16, 16), seg_pad_val=255,
        **{numbers!r}),
    backbone=dict(
        type='eavit_mm.ElasticVisionTransformer', img_size=16, patch_size=4,
        arch=dict(embed_dims=24, num_layers=2, num_heads=4,
                  feedforward_channels=32),
        in_channels={channels}, out_type='featmap', final_norm=False,
        out_indices=[0, 1],
        space=dict(embed_dims=[12, 24], num_heads=[1, 2, 4],
                   feedforward_channels=[8, 16, 32])),
    decode_head=dict(head, in_index=1, norm_cfg=dict(type='BN')),
    auxiliary_head=dict(head, in_index=0),
    test_cfg=dict(mode='slide', crop_size=(16, 16), stride=(12, 12)))
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)
search_cfg = dict(max_evaluations=3)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2))
"""


def write_config(folder: Path, channels: int = 3) -> Path:
    """Images of two sizes in three parts, and the config of a supernet."""
    rng = np.random.default_rng(0)
    for part, number in (('train', 8), ('val', 3), ('test', 3)):
        for i in range(number):
            size = (20, 28) if i % 2 else (24, 18)  # width, height
            for kind, most in (('images', 256), ('labels', len(NAMES))):
                path = folder / kind / part / f'{part}_{i}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                shape = (5, 7, 3) if kind == 'images' else (5, 7)
                grid = rng.integers(most, size=shape, dtype=np.uint8)
                how = dict(interpolation=cv2.INTER_NEAREST)
                cv2.imwrite(str(path), cv2.resize(grid, size, **how))
    numbers: dict[str, Any] = dict(mean=[110.0], std=[20.0])
    if channels == 3:
        numbers = dict(mean=[100.0, 110.0, 150.0], std=[20.0, 30.0, 25.0])
        numbers.update(bgr_to_rgb=True)
    path = folder / 'supernet.py'
    runtime = ROOT / 'configs' / '_base_' / 'elastic_seg_runtime.py'
    path.write_text(
        CONFIG.format(
            runtime=str(runtime),
            root=str(folder),
            names=NAMES,
            palette=COLOURS,
            numbers=numbers,
            channels=channels,
            colours='color' if channels == 3 else 'grayscale',
        )
    )
    return path


def run_tool(tool: Path, *args: Any) -> None:
    """Runs a tool within this process, for fixtures of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [str(tool), *map(str, args)])
        runpy.run_path(str(tool), run_name='__main__')


def randomised(state: dict[str, Any]) -> dict[str, Any]:
    """Weights that tell pixels apart, as only long training would."""
    rng = torch.Generator().manual_seed(0)
    for name, value in state.items():
        if value.is_floating_point() and 'running' not in name:
            value.add_(0.5 * torch.randn(value.shape, generator=rng))
    return state
