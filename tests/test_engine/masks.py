"""A toy segmentation: folders of small images and masks, trained at once."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config

from .toys import SPACE, config, model_cfg

CLASSES = 3
LABELS = tuple(range(CLASSES))


def put(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def image(size: tuple[int, int], seed: int = 0) -> Any:
    rng = np.random.default_rng([*size, seed])
    return rng.integers(256, size=(*size, 3), dtype=np.uint8)


def mask(size: tuple[int, int], labels: Any = LABELS) -> Any:
    """Stripes of the labels."""
    rows = np.resize(np.array(labels), size[0])
    dtype = np.uint8 if max(labels) < 256 else np.uint16
    return rows[:, None].repeat(size[1], 1).astype(dtype)


def write(root: Path, *sizes: tuple[int, int], **parts: int) -> Path:
    """Images and masks of each part, of the sizes in turn."""
    sizes = sizes or ((8, 12),)
    for number, (part, count) in enumerate(parts.items()):
        for i in range(count):
            size = sizes[i % len(sizes)]
            pixels = image(size, 100 * number + i)
            put(root / 'images' / part / f'{i}.jpg', pixels)
            put(root / 'annotations' / part / f'{i}.png', mask(size))
    return root


def data(root: Path, part: str, **options: Any) -> dict[str, Any]:
    """A data set of mmseg over one part."""
    folders = dict(
        img_path=f'images/{part}', seg_map_path=f'annotations/{part}'
    )
    cfg: dict[str, Any] = dict(
        type='BaseSegDataset',
        data_root=str(root),
        data_prefix=folders,
        metainfo=dict(classes=tuple('abc')),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
    )
    cfg.update(options)
    return cfg


def loader(dataset: Any, **options: Any) -> dict[str, Any]:
    options.setdefault('batch_size', 1)
    return dict(
        num_workers=0,
        dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
        **options,
    )


def fcn(**options: Any) -> dict[str, Any]:
    cfg = dict(type='FCNHead', in_channels=12, channels=12, num_convs=0)
    return {**cfg, 'concat_input': False, 'num_classes': CLASSES, **options}


def segmentor(**changes: Any) -> dict[str, Any]:
    backbone = dict(model_cfg()['backbone'], space=SPACE)
    backbone.update(in_channels=3, out_type='featmap', final_norm=False)
    cfg: dict[str, Any] = dict(
        type='eavit_mm.ElasticEncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', size=(8, 12)),
        backbone=backbone,
        decode_head=fcn(),
    )
    cfg.update(changes)
    return cfg


def run(work_dir: Path, train: Any, **changes: Any) -> Config:
    """A training of one epoch."""
    cfg = dict(
        default_scope='mmseg',
        model=segmentor(),
        train_dataloader=loader(train),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        custom_hooks=[],
        launcher='none',
    )
    cfg.update(changes)
    return config(work_dir, **cfg)
