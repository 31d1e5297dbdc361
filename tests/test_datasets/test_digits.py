"""scikit-learn's digits: what is in them, and our split of them."""

from collections import Counter

import numpy as np
import pytest
from mmpretrain.registry import DATASETS
from sklearn.datasets import load_digits

from eavit_mm.datasets import Digits

from .idx import content


@pytest.fixture(scope='module')
def parts():
    return {split: content(Digits(split)) for split in ('train', 'test')}


def test_the_splits_are_disjoint_and_complete(parts):
    assert len(parts['train']) == 1347
    assert len(parts['test']) == 450
    ids = [info['sample_id'] for part in parts.values() for info in part]
    assert sorted(ids) == [f'{i:05d}' for i in range(1797)]


def test_images_are_those_of_scikit_learn(parts):
    digits = load_digits()
    for info in (*parts['train'], *parts['test']):
        index = int(info['sample_id'])
        assert info['gt_label'] == digits.target[index]
        assert info['img'].shape == (8, 8)
        assert info['img'].dtype == np.uint8
        error = info['img'] * (16 / 255) - digits.images[index]
        assert np.abs(error).max() < 0.04
    assert max(info['img'].max() for info in parts['test']) == 255


def test_classes_are_balanced(parts):
    counts = Counter(info['gt_label'] for info in parts['test'])
    assert set(counts.values()) == {45}
    assert set(counts) == set(range(10))


def test_the_split_is_always_the_same(parts):
    # Pinned: results of different versions must be comparable.
    first = [int(info['sample_id']) for info in parts['test'][:5]]
    assert first == [2, 12, 13, 20, 28]


def test_a_config_names_it():
    data = DATASETS.build(dict(type='eavit_mm.Digits', split='test'))
    assert data.test_mode
    assert data.metainfo['classes'] == tuple('0123456789')
    assert not Digits().test_mode


def test_another_split_is_refused():
    with pytest.raises(
        ValueError, match=r"split='val'; must be 'train' or 'test'"
    ):
        Digits('val')
