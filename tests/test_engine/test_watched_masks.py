"""Masks that are wrong are named: missing ones before, labels when read."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config

from eavit_mm.engine.cli import build_runner, run_tool
from eavit_mm.engine.run_checks import check_training

from . import masks
from .masks import fcn, loader, mask, put, run, segmentor, write


def train(cfg: Config) -> None:
    run_tool(lambda: build_runner(cfg).train())


def refuses(cfg: Config, words: str) -> None:
    with pytest.raises(SystemExit, match=f'^error: {words}') as error:
        train(cfg)
    assert '\n' not in str(error.value)


def set_of(tmp_path: Path, *wrong: Any, **options: Any) -> dict[str, Any]:
    """Four images, the third of which has another mask."""
    root = write(tmp_path / 'data', train=4)
    for pixels in wrong:
        put(root / 'annotations/train/2.png', pixels)
    return masks.data(root, 'train', **options)


SIZE = (8, 12)


def test_labels_of_classes_and_ignored_ones_train(tmp_path):
    data = set_of(tmp_path, mask(SIZE, (0, 255, 2)))
    train(run(tmp_path / 'run', data))
    assert (tmp_path / 'run' / 'epoch_1.pth').exists()


@pytest.mark.parametrize(
    ('pixels', 'words'),
    [
        (mask(SIZE, (0, 3)), r'label 3; must be at least 0 and below 3, one'),
        (mask((8, 11)), r'of \(height, width\) = \(8, 11\); must be \(8, 12'),
        (np.zeros((*SIZE, 3), np.uint8), r'shape \(8, 12, 3\); must be one'),
    ],
)
def test_a_wrong_mask_is_named_while_training(tmp_path, pixels, words):
    data = set_of(tmp_path, pixels)
    words = rf'\S*/2.jpg with the mask \S*/2.png cannot be .*{words}'
    refuses(run(tmp_path / 'run', data), words)


def test_a_wrong_mask_is_named_where_images_are_augmented(tmp_path):
    """By mmcv's TestTimeAug, which reads masks itself."""
    loads = dict(type='LoadAnnotations')
    flips = [dict(type='RandomFlip', prob=p) for p in (0.0, 1.0)]
    steps = [flips, [loads], [dict(type='PackSegInputs')]]
    augment = dict(type='TestTimeAug', transforms=steps)
    pipeline = [dict(type='LoadImageFromFile'), augment]
    model = segmentor(test_cfg=dict(mode='whole'))
    for labels, is_wrong in ((2, 255), False), ((0, 3), True):
        data = set_of(tmp_path, mask(SIZE, labels), pipeline=pipeline)
        cfg = run(tmp_path / 'run', data, test_dataloader=loader(data))
        cfg.test_cfg, cfg.test_evaluator = {}, dict(type='IoUMetric')
        cfg.model = dict(type='SegTTAModel', module=model)
        runner = build_runner(cfg)
        words = r'.*/2.png .* label 3; must be at least 0 and below 3'
        how = pytest.raises(ValueError, match=words)
        with how if is_wrong else nullcontext():
            runner.test()


def test_zero_is_no_class_where_it_is_reduced(tmp_path):
    data = set_of(tmp_path, mask(SIZE, (0, 3, 255)), reduce_zero_label=True)
    train(run(tmp_path / 'run', data))
    data = set_of(tmp_path, mask(SIZE, (1, 4)), reduce_zero_label=True)
    words = r'.*/2.png .* label 4; must be at least 1 and below 4, one of 3'
    refuses(run(tmp_path / 'again', data), words)


def test_a_mask_is_compared_with_the_image_as_it_was(tmp_path):
    """Tests of mmseg resize the image alone."""
    data = set_of(tmp_path)
    data['pipeline'].insert(1, dict(type='Resize', scale=(6, 4)))
    train(
        run(
            tmp_path / 'run',
            data,
            model=segmentor(
                data_preprocessor=dict(type='SegDataPreProcessor', size=SIZE)
            ),
        )
    )


@pytest.mark.parametrize(
    ('path', 'words'),
    [
        (
            'annotations/train/1.png',
            r'1 of 4 masks are not there, such as .*/',
        ),
        ('images/train', r'.*images/train'),
    ],
)
def test_what_is_not_there_is_told_before_the_first_step(
    tmp_path, path, words
):
    data = set_of(tmp_path)
    place = tmp_path / 'data' / path
    place.rename(place.with_name('other'))
    words = f'train_dataloader: {words}'
    refuses(run(tmp_path / 'run', data), words)


def test_a_folder_without_such_images(tmp_path):
    data = set_of(tmp_path, img_suffix='.jpeg')
    words = 'train_dataloader: no image found: are data_root, data_pre'
    refuses(run(tmp_path / 'run', data), words)


@pytest.mark.parametrize(
    ('heads', 'words'),
    [
        (dict(decode_head=fcn(num_classes=2)), 'decode_head.num_classes=2'),
        (
            dict(auxiliary_head=[fcn(), fcn(num_classes=2)]),
            'auxiliary_head.1.num_classes=2',
        ),
        (
            dict(decode_head=fcn(num_classes=2, out_channels=1)),
            'decode_head.out_channels=1',
        ),
    ],
)
def test_every_head_has_the_classes_of_the_data(tmp_path, heads, words):
    words = f'train_dataloader: model.{words}; the data have 3 classes'
    data = set_of(tmp_path)
    refuses(run(tmp_path / 'run', data, model=segmentor(**heads)), words)


@pytest.mark.parametrize('part', ['train', 'val'])
def test_images_of_a_batch_have_one_size(tmp_path, part):
    data = masks.data(write(tmp_path / 'data', SIZE, (16, 24), all=4), 'all')
    changes: dict[str, Any] = dict(
        val_dataloader=masks.loader(data),
        val_cfg={},
        val_evaluator=dict(type='IoUMetric'),
    )
    check_training(build_runner(run(tmp_path / 'run', data, **changes)))
    changes[f'{part}_dataloader'] = masks.loader(data, batch_size=2)
    runner = build_runner(run(tmp_path / 'again', data, **changes))
    with pytest.raises(ValueError, match=f'^{part}_dataloader: images of a'):
        check_training(runner)
