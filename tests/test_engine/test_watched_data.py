"""Samples that are wrong are named: labels before, images while training."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from eavit_mm.engine.cli import build_runner, run_tool
from eavit_mm.engine.watched_data import check_labels

from .test_data_overlap import Listed
from .toys import config, evaluated, loader, model_cfg, stock_cfg

HEADS = {'model.head': SimpleNamespace(num_classes=3)}


def images(folder: Path, *labels: Any) -> dict[str, Any]:
    """A data set of small images and an annotation file."""
    folder.mkdir()
    for i in range(len(labels)):
        image = np.full((8, 8), i, dtype=np.uint8)
        cv2.imwrite(str(folder / f'{i}.png'), image)
    lines = [f'{i}.png {label}' for i, label in enumerate(labels)]
    (folder / 'all.txt').write_text('\n'.join(lines))
    return dict(
        type='CustomDataset',
        data_prefix=str(folder),
        ann_file=str(folder / 'all.txt'),
        pipeline=[
            dict(type='LoadImageFromFile', color_type='grayscale'),
            dict(type='PackInputs'),
        ],
    )


def toy(tmp_path: Path, **changes: Any) -> Config:
    return config(tmp_path / 'run', launcher='none', **changes)


def train(cfg: Config) -> None:
    run_tool(lambda: build_runner(cfg).train())


@pytest.mark.parametrize(('part', 'label'), [('train', -1), ('val', 10**20)])
def test_a_label_of_no_class_is_told_before_the_first_step(
    tmp_path, part, label
):
    data = images(tmp_path / 'images', 0, 1, label, 2)
    changes = {**evaluated(), f'{part}_dataloader': loader(dataset=data)}
    words = f'{part}_dataloader: .*/2.png: gt_label={label}; .* and below 3'
    cfg = toy(tmp_path, **changes)
    with pytest.raises(SystemExit, match=f'^error: {words}') as error:
        train(cfg)
    assert '\n' not in str(error.value)
    assert not list((tmp_path / 'run').glob('*.pth'))


@pytest.mark.parametrize('label', [[0, 2], [], dict(size=9), None])
def test_other_kinds_of_labels(label):
    check_labels(Listed([dict(sample_id='n1', gt_label=label)]), HEADS)


def test_lists_of_other_kinds():
    check_labels(SimpleNamespace(data_list=['0.png', ('1.png', 7)]), HEADS)


@pytest.mark.parametrize(
    ('infos', 'words'),
    [
        ([dict(gt_label=[1, 3])], 'n0: gt_label=.1, 3.; .* below 3, the num'),
        ([dict(gt_label=[-1])], 'n0: gt_label=.-1.; must be at least 0 and'),
        ([dict(gt_label=1), {}], 'n1: has no gt_label, as others have'),
    ],
)
def test_labels_that_are_none(infos, words):
    data = [dict(info, sample_id=f'n{i}') for i, info in enumerate(infos)]
    with pytest.raises(ValueError, match=f'^{words}'):
        check_labels(Listed(data), HEADS)


@pytest.mark.parametrize('make', [model_cfg, stock_cfg])
def test_a_head_of_too_few_classes(make, tmp_path):
    head = dict(type='LinearClsHead', num_classes=2, in_channels=12)
    cfg = toy(tmp_path, model={**make(), 'head': head})
    with pytest.raises(
        SystemExit, match='num_classes=2; the data have 3 classes'
    ):
        train(cfg)


@pytest.mark.parametrize(
    ('workers', 'content'), [(0, b''), (0, None), (1, b'<html>')]
)
def test_a_broken_image_is_named_while_training(tmp_path, workers, content):
    data = images(tmp_path / 'images', *[0, 1, 2] * 3)
    broken = tmp_path / 'images' / '4.png'
    if content is None:
        broken.unlink()
    else:
        broken.write_bytes(content)
    hook = dict(type='eavit_mm.ReproducibleHook')
    cfg = toy(
        tmp_path,
        train_dataloader=loader(dataset=data, num_workers=workers),
        custom_hooks=[hook],
    )
    words = f'{broken} cannot be read or transformed: '
    with pytest.raises(SystemExit, match=f'^error: {words}') as error:
        train(cfg)
    assert '\n' not in str(error.value)
    assert len(str(error.value)) < 400
