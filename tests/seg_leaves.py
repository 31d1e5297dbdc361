"""Leaves of segmentation cut to seconds, and data that they read."""

from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import cv2
import numpy as np
import torch
from mmengine.config import Config, config
from mmpretrain.models import VisionTransformer
from toys import SCALA as SPACE

import eavit_mm  # noqa: F401

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
VITB = CONFIGS / 'eavit_seg' / 'vitb_upernet_ade20k-512x512.py'
# Widths and sizes of the ViT-B recipe, and those of its tests.
SMALLER = {2048: 64, 1024: 64, 768: 24, 512: 32, 256: 32, 128: 32, 32: 8}
# Sizes of retinas, and strides of windows.
SMALLER |= {960: 32, 999: 40, 584: 32, 565: 40, 85: 21, 341: 21, 683: 43}
# Those of the ViT-Ti.
SMALLER |= {192: 24, 112: 32, 144: 40}
SMALLER |= {384: 24}  # of Scala's ViT-S
NARROW: dict[str, Any] = dict(
    arch=dict(
        embed_dims=24, num_layers=4, num_heads=6, feedforward_channels=48
    ),
    patch_size=8,
    space=dict(
        embed_dims=[12, 24],
        num_heads=[2, 6],
        feedforward_channels=[16, 48],
        max_off=2,
    ),
)
# Of the leaf whose networks are Scala's.
NARROW_SCALA = dict(
    NARROW, space=dict(SPACE, feedforward_channels=[12, 24, 36, 48])
)
WIDEST = dict(embed_dims=12, num_heads=2, feedforward_channels=16)
WIDEST = dict(WIDEST, max_off=2, p_off=0.3)


def draw(path: Path, largest: int | None, seed: int) -> None:
    """An image of 40 x 32 pixels, or labels up to the largest, or 255."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(256, size=(32, 40, 3), dtype=np.uint8)
    if largest is not None:
        pixels = rng.integers(largest + 1, size=(4, 5)).repeat(8, 0)
        pixels = pixels.repeat(8, 1).astype(np.uint8)
        pixels[:2] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


class Layout(NamedTuple):
    """The largest label, parts, and where an image and its masks lie."""

    largest: int
    parts: tuple[str, ...]
    image: str
    masks: tuple[str, ...]
    images: int = 6  # of a part


BOTH = 'training', 'validation'
PLAIN = 'images/{}/{}.jpg', ('annotations/{}/{}.png',)
LAYOUTS = {
    'ade20k': Layout(
        150, BOTH, 'images/{}/ADE_{}.jpg', ('annotations/{}/ADE_{}.png',)
    ),
    'voc12aug': Layout(
        20,
        ('train', 'aug', 'val'),
        'JPEGImages/{}_{}.jpg',
        ('SegmentationClass/{}_{}.png', 'SegmentationClassAug/{}_{}.png'),
    ),
    'cityscapes': Layout(
        18,
        ('train', 'val'),
        'leftImg8bit/{}/aachen/aachen_{}_leftImg8bit.png',
        ('gtFine/{}/aachen/aachen_{}_gtFine_labelTrainIds.png',),
    ),
    'chase-db1': Layout(
        1,
        BOTH,
        'images/{}/Image_{:02}L.png',
        ('annotations/{}/Image_{:02}L_1stHO.png',),
        images=20,
    ),
    'drive': Layout(
        1,
        BOTH,
        'images/{}/{:02}.png',
        ('annotations/{}/{:02}_manual1.png',),
        images=20,
    ),
    'loveda': Layout(
        7, ('train', 'val'), 'img_dir/{}/{}.png', ('ann_dir/{}/{}.png',)
    ),
    'camvid': Layout(10, ('train', 'val', 'test'), *PLAIN),
    'pets': Layout(2, ('train', 'test'), *PLAIN),
}
FIRST = [
    path
    for path in sorted(VITB.parent.glob('vit[bt]*.py'))
    if not path.stem.endswith('_stage2')
]

# One with an auxiliary head, dropout, random crops and colours.
LOVEDA = next(path for path in FIRST if 'loveda' in path.stem)

SCALA = CONFIGS / 'scala' / 'scala_vits_fpn_ade20k-512x512.py'


def second(path: Path) -> Path:
    """The leaf of stage 2 beside one of stage 1."""
    return path.with_stem(f'{path.stem}_stage2')


# Of each kind, those that are trained; the others are compared with them.
SECOND = [
    second(path)
    for path in FIRST
    if any(
        word in path.stem for word in ('linear', 'loveda', 'chase', 'camvid')
    )
]


def layout_of(path: Path) -> Layout:
    """That of the data set in the name of a leaf."""
    return LAYOUTS[path.stem.split('_')[-1].rsplit('-', 1)[0]]


def write(root: Path, layout: Layout) -> None:
    """Images of each part, and lists of them, as VOC has."""
    lists = root / 'ImageSets' / 'Segmentation'
    lists.mkdir(parents=True)
    for part in layout.parts:
        for i in range(layout.images):
            draw(root / layout.image.format(part, i), None, i)
            for mask in layout.masks:
                draw(root / mask.format(part, i), layout.largest, i)
        lines = (f'{part}_{i}\n' for i in range(layout.images))
        (lists / f'{part}.txt').write_text(''.join(lines))


def smaller(value: Any) -> Any:
    """A part of a config with smaller numbers, which waits for nothing."""
    if isinstance(value, dict):
        return {key: smaller(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(smaller, value))
    return SMALLER.get(value, value) if type(value) is int else value


def rooted(value: Any, root: Path) -> None:
    """Gives data sets their folder and splits a size that they have."""
    for key, part in value.items():
        if key == 'data_root':
            value[key] = str(root)
        elif key == 'parts':
            part['search'] = 2
        for each in part if isinstance(part, list) else [part]:
            if isinstance(each, dict):
                rooted(each, root)


def short(path: Path, folder: Path, root: Path, **changes: Any) -> Path:
    """A config for two iterations of small networks and images."""
    cfg = Config.fromfile(path)
    cfg.model = smaller(cfg.model.to_dict())
    backbone = cfg.model.backbone
    # A third of the layers.
    taps = [index // 3 for index in backbone.get('out_indices', [-1])]
    frozen = backbone.get('frozen_stages', -1)
    is_scala = 'suffix_smallest' in backbone.space
    narrow = NARROW_SCALA if is_scala else NARROW
    backbone.update(narrow, out_indices=taps, frozen_stages=frozen // 3)
    if backbone.init_cfg:
        sizes = dict(narrow, img_size=backbone.img_size)
        del sizes['space']
        stock = VisionTransformer(**sizes).state_dict()
        state = {f'backbone.{key}': value for key, value in stock.items()}
        backbone.init_cfg.checkpoint = str(folder / 'pretrained.pth')
        torch.save(state, backbone.init_cfg.checkpoint)
    for name in ('train', 'val', 'test'):
        loader = smaller(cfg[f'{name}_dataloader'].to_dict())
        loader.update(num_workers=0, persistent_workers=False)
        rooted(loader, root)
        cfg[f'{name}_dataloader'] = loader
    cfg.param_scheduler = []
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.default_hooks.checkpoint.interval = 2
    cfg.val_cfg.subnets = dict(largest=1.0, smallest='smallest')
    for hook in cfg.custom_hooks:
        if 'levels' in hook:
            hook['levels'] = [dict(begin=0), dict(WIDEST, begin=1)]
        if 'warmup' in hook:
            hook.update(warmup=1, num_budgets=4)
    cfg.search_cfg.update(max_evaluations=3)
    cfg.merge_from_dict(changes)
    # Most of the time would go into its layout.
    with patch.object(config, 'FormatCode', lambda text, **_: (text, True)):
        cfg.dump(folder / path.name)
    return folder / path.name
