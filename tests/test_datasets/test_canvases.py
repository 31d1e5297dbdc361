"""Canvases: what is on them, where it is, and that nothing else draws it."""

from typing import Any

import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope

import eavit_mm  # noqa: F401
from eavit_mm.datasets import Digits
from eavit_mm.datasets.canvases import paste, texture
from eavit_mm.engine.data_overlap import check_disjoint

from .idx import content, write

# As in a config of mmseg; inferencers need the first step.
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]


@pytest.fixture(autouse=True)
def of_mmseg(scope):
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def canvases(**changes: Any) -> Any:
    """Digits to train on, of whose parts a test has one."""
    cfg = dict(
        type='eavit_mm.Canvases',
        source=dict(type='eavit_mm.Digits'),
        number=8,
        pipeline=PIPELINE,
    )
    return DATASETS.build({**cfg, **changes})


def pixels(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """All canvases and labels."""
    samples = list(dataset)
    images = np.stack([s['inputs'].numpy()[0] for s in samples])
    labels = [s['data_samples'].gt_sem_seg.data.numpy()[0] for s in samples]
    return images, np.stack(labels)


def test_a_canvas_has_the_classes_of_its_things():
    dataset, digits = canvases(), Digits()
    classes = {d['sample_id']: d['gt_label'] for d in content(digits)}
    images, labels = pixels(dataset)
    assert images.shape == labels.shape == (8, 56, 56)
    assert dataset.metainfo['classes'] == ('background', *'0123456789')
    assert len({*map(tuple, dataset.metainfo['palette'])}) == 11
    for info, label in zip(content(dataset), labels, strict=True):
        on_it = {1 + classes[name] for name in info['sample_id']}
        assert {*np.unique(label)} == {0, *on_it}
        # No cell has two classes.
        for cell in label.reshape(2, 28, 2, 28).swapaxes(1, 2).reshape(4, -1):
            assert len({*np.unique(cell)} - {0}) <= 1


def test_a_thing_is_where_its_silhouette_is():
    image = np.zeros((8, 8), np.uint8)
    image[1:7, 2:5] = 255
    for seed in range(20):
        rng = np.random.default_rng(seed)
        before = texture(28, rng)
        assert 60 <= before.min() < before.max() <= 195
        area = before.copy()
        silhouette = paste(area, image, rng)
        rows, columns = np.nonzero(silhouette)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        # Six by three of eight pixels, drawn at 16 to 28, and its soft edge.
        assert 11 <= height <= 25
        assert width < 0.8 * height
        # A bar is whole but for its corners.
        assert silhouette.sum() > 0.9 * height * width
        # Inside it is light or dark, far outside is the texture.
        inside = area[silhouette].mean()
        assert inside > 180 or inside < 80
        changed = area != before
        assert changed[silhouette].all()
        assert changed.sum() < 2 * silhouette.sum()


def test_a_seed_makes_the_same_canvases_in_any_order():
    images, labels = pixels(canvases())
    again = canvases(number=9)
    for index in (7, 2, 7):
        sample = again[index]
        assert np.array_equal(sample['inputs'].numpy()[0], images[index])
        mask = sample['data_samples'].gt_sem_seg.data.numpy()[0]
        assert np.array_equal(mask, labels[index])
        sample['inputs'].zero_()  # whoever has it may change it
        mask[:] = 255
    assert not np.array_equal(pixels(canvases(seed=1))[0], images)
    assert len({image.tobytes() for image in images}) == 8
    # Pinned: results of different versions must be comparable.
    assert content(again)[0]['sample_id'] == ('01530', '01127')
    assert (labels[0] > 0).sum() == 332


def test_parts_share_no_thing():
    parts = dict(search=150, train=None)
    digits = dict(type='eavit_mm.Digits')
    sources = dict(
        train=dict(type='eavit_mm.Split', part='train', parts=parts),
        search=dict(type='eavit_mm.Split', part='search', parts=parts),
        test=dict(type='eavit_mm.Digits', split='test'),
    )
    for name in ('train', 'search'):
        sources[name]['dataset'] = digits
    built = {k: canvases(source=s, number=99) for k, s in sources.items()}
    check_disjoint(built)
    with pytest.raises(ValueError, match='share [0-9]+ samples, such as'):
        check_disjoint(dict(built, test=canvases(number=99)))


def test_fashion_items_lie_on_canvases_too(tmp_path):
    root = str(write(tmp_path / 'data', compressed=False))
    source = dict(type='eavit_mm.FashionMNIST', data_root=root, split='test')
    dataset = canvases(source=source, number=2, grid=3, cell=20)
    assert dataset.metainfo['classes'][1] == 'T-shirt/top'
    images, _ = pixels(dataset)
    assert images.shape == (2, 60, 60)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(source=3), 'source=3; must be'),
        (dict(number=0), 'number=0'),
        (dict(grid=1.5), 'grid=1.5'),
        (dict(cell=0), 'cell=0'),
        (dict(seed=-1), 'seed=-1'),
    ],
)
def test_what_is_no_canvas_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        canvases(**changes)
