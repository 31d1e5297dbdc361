"""Folders of images and shorter trainings, as changes of configs."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

from eavit_mm.engine.adaptation import shorten, use_image_folder
from eavit_mm.engine.data_overlap import check_disjoint

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'eavit'
DIGITS = CONFIGS / 'vitmini_digits_stage2.py'
LOADERS = ('train', 'val', 'test')


def write_images(folder: Path, number: int, classes: Any = 'abc') -> None:
    rng = np.random.default_rng(0)
    for label in classes:
        (folder / label).mkdir(parents=True)
        for i in range(number):
            image = rng.integers(256, size=(20, 24, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / label / f'{i}.png'), image)


def datasets(cfg: Config) -> dict[str, Any]:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return {
            name: DATASETS.build(cfg[f'{name}_dataloader'].dataset)
            for name in LOADERS
        }


@pytest.mark.parametrize(
    ('layout', 'name'),
    [
        ('train and test', DIGITS),
        ('train and val', CONFIGS / 'vitb_flowers.py'),
        ('flat', DIGITS),
    ],
)
def test_a_folder_becomes_three_parts(
    tmp_path: Path, layout: str, name: Path
) -> None:
    if layout == 'flat':
        write_images(tmp_path, 20)
        sizes = dict(train=43, val=5, test=12)
    else:
        write_images(tmp_path / 'train', 20)
        write_images(tmp_path / layout.split()[-1], 1)
        sizes = dict(train=54, val=6, test=3)
    cfg = Config.fromfile(name)
    use_image_folder(cfg, tmp_path)
    built = datasets(cfg)
    assert {key: len(data) for key, data in built.items()} == sizes
    seen = [
        {data.get_data_info(i)['img_path'] for i in range(len(data))}
        for data in built.values()
    ]
    assert len(set.union(*seen)) == sum(sizes.values())
    check_disjoint(
        dict(
            train=cfg.train_dataloader.dataset,
            search=cfg.val_dataloader.dataset,
            test=cfg.test_dataloader.dataset,
        )
    )
    assert cfg.model.head.num_classes == 3
    assert cfg.data_preprocessor.num_classes == 3
    channels = cfg.model.backbone.get('in_channels', 3)
    size = 28 if name == DIGITS else 224
    for data in built.values():
        assert data[0]['inputs'].shape == (channels, size, size)


def test_folders_that_are_none(tmp_path: Path) -> None:
    cfg = Config.fromfile(DIGITS)
    with pytest.raises(FileNotFoundError, match='no such folder; must hold'):
        use_image_folder(cfg, tmp_path / 'no')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='--data .*; must'):
        use_image_folder(cfg, tmp_path / 'empty')
    write_images(tmp_path / 'few', 2)
    with pytest.raises(ValueError, match='6 images in folders of classes'):
        use_image_folder(cfg, tmp_path / 'few')
    write_images(tmp_path / 'half' / 'train', 5)
    with pytest.raises(ValueError, match='has train, but neither of'):
        use_image_folder(cfg, tmp_path / 'half')
    write_images(tmp_path / 'half' / 'test', 5, 'abd')
    with pytest.raises(ValueError, match=r"other classes: \['c', 'd'\]"):
        use_image_folder(cfg, tmp_path / 'half')


def test_a_shorter_training_keeps_its_shape() -> None:
    cfg = Config.fromfile(CONFIGS / 'vitmini_digits.py')
    shorten(cfg, 0.1)
    assert cfg.train_cfg.max_epochs == 8
    assert cfg.train_cfg.val_interval == 8
    assert [s.get('end') for s in cfg.param_scheduler] == [1, None]
    (levels,) = (h.levels for h in cfg.custom_hooks if 'levels' in h)
    assert [level.begin for level in levels] == [0, 1, 2]
    assert cfg.default_hooks.checkpoint.interval == 2
    cfg = Config.fromfile(CONFIGS / 'vitmini_fashion40_stage2.py')
    shorten(cfg, 0.01)
    assert cfg.train_cfg.max_iters == 60
    assert [(s.get('begin'), s.end) for s in cfg.param_scheduler] == [
        (None, 1),
        (1, 60),
    ]
    assert cfg.custom_hooks[0].warmup == 1
