"""Parts of a data set: disjoint, complete, seeded and balanced."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS

from eavit_mm.datasets import split_dataset
from eavit_mm.datasets.split import partition


def cut(sizes: list[int], rest: bool) -> dict[str, int | None]:
    parts: dict[str, int | None] = {f'p{i}': n for i, n in enumerate(sizes)}
    if rest:
        parts['rest'] = None
    return parts


@st.composite
def cuts(draw: Any) -> tuple[int, dict[str, int | None]]:
    number = draw(st.integers(2, 60))
    sizes, left = [], number - 1
    for _ in range(draw(st.integers(1, 4))):
        if left:
            sizes.append(draw(st.integers(1, left)))
            left -= sizes[-1]
    return number, cut(sizes, draw(st.booleans()))


@settings(deadline=None, max_examples=30)
@given(case=cuts(), seed=st.integers(0, 9), classes=st.integers(0, 5))
def test_parts_are_disjoint_complete_and_sorted(case, seed, classes):
    number, parts = case
    labels = None
    if classes:
        labels = np.random.default_rng(seed).integers(classes, size=number)
    found = partition(number, parts, seed, labels)
    assert list(found) == list(parts)
    taken = [index for indices in found.values() for index in indices]
    assert len(taken) == len(set(taken))
    assert set(taken) <= set(range(number))
    for name, size in parts.items():
        assert found[name] == sorted(found[name])
        if size is not None:
            assert len(found[name]) == size
    if 'rest' in parts:
        assert sorted(taken) == list(range(number))


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 15), min_size=1, max_size=4),
    classes=st.integers(1, 7),
    seed=st.integers(0, 9),
)
def test_a_class_gets_its_even_share(sizes, classes, seed):
    each = -(-sum(sizes) // classes) + 1
    labels = np.repeat(np.arange(classes), each)
    np.random.default_rng(seed).shuffle(labels)
    found = partition(len(labels), cut(sizes, True), seed, labels)
    for i, indices in enumerate(found.values()):
        counts = Counter(labels[indices].tolist())
        shares = [counts[k] for k in range(classes)]
        # Of a part in the middle, begin and end may both lie within a round
        # of the classes.
        in_middle = 0 < i < len(found) - 1
        assert max(shares) - min(shares) <= 1 + in_middle


def test_the_seed_alone_decides():
    parts = dict(search=20, train=None)
    first = partition(100, parts, 0)
    np.random.seed(5)  # noqa: NPY002
    assert partition(100, parts, 0) == first
    assert partition(100, parts, 1) != first
    # It is a shuffle, not a prefix.
    assert first['search'] != list(range(20))


def test_which_classes_get_one_more_is_drawn():
    labels = np.tile(np.arange(10), 10)
    extra = set()
    for seed in range(8):
        found = partition(100, dict(search=3, train=None), seed, labels)
        extra |= set(labels[found['search']].tolist())
    assert len(extra) > 5


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        (dict(a=None, b=None), 'positive integers, at most one None'),
        (dict(a=0, b=None), 'sizes must be positive'),
        (dict(a=-2, b=None), 'sizes must be positive'),
        (dict(a=11), 'ask for more than the 10 samples there are'),
        (dict(a=5, b=6), 'ask for more than the 10 samples'),
        (dict(a=10, b=None), 'ask for more than the 10 samples'),
    ],
)
def test_sizes_that_do_not_fit_are_refused(parts, message):
    with pytest.raises(ValueError, match=message) as error:
        partition(10, parts, 0)
    assert str(parts) in str(error.value)


@DATASETS.register_module()
class SplitToy(BaseDataset):
    """Numbers with labels; ``lazy_init`` and all."""

    def load_data_list(self) -> list[dict[str, Any]]:
        return [dict(number=i, gt_label=i % 3) for i in range(30)]

    def get_gt_labels(self) -> np.ndarray:
        return np.array([self.get_data_info(i)['gt_label'] for i in range(30)])


def numbers(dataset: BaseDataset) -> list[int]:
    return [dataset.get_data_info(i)['number'] for i in range(len(dataset))]


PARTS = dict(search=6, held=5, train=None)


@pytest.mark.parametrize('lazy', [False, True])
def test_a_config_takes_one_part(lazy):
    inner = dict(type='SplitToy', lazy_init=lazy)
    found = {
        part: DATASETS.build(
            dict(type='eavit_mm.Split', dataset=inner, part=part, parts=PARTS)
        )
        for part in PARTS
    }
    assert {k: len(v) for k, v in found.items()} == dict(
        search=6, held=5, train=19
    )
    taken = [number for part in found.values() for number in numbers(part)]
    assert sorted(taken) == list(range(30))
    assert Counter(n % 3 for n in numbers(found['search'])) == {
        0: 2,
        1: 2,
        2: 2,
    }
    assert type(found['train']) is SplitToy
    assert inner == dict(type='SplitToy', lazy_init=lazy)


def test_parts_of_other_labels_agree_if_they_are_not_balanced():
    def search(**options: Any) -> list[int]:
        return numbers(
            split_dataset(dict(type='SplitToy'), 'search', PARTS, **options)
        )

    expected = partition(30, PARTS, 0)['search']
    assert search(balanced=False) == expected
    assert search() != expected
    assert search(seed=1, balanced=False) != expected


def test_a_data_set_without_labels_can_be_split():
    @DATASETS.register_module(force=True)
    class NoLabels(SplitToy):
        get_gt_labels = property()  # hasattr finds nothing

    found = split_dataset(dict(type='NoLabels'), 'search', PARTS)
    assert numbers(found) == partition(30, PARTS, 0)['search']


def test_each_part_has_its_own_pipeline():
    @DATASETS.register_module(force=True)
    class Marked(SplitToy):
        def prepare_data(self, index: int) -> Any:
            return self.pipeline(self.get_data_info(index))

    def first(mark: str) -> Any:
        pipeline = [lambda info: {**info, 'mark': mark}]
        cfg = dict(type='Marked', pipeline=pipeline)
        return split_dataset(cfg, 'search', PARTS)[0]['mark']

    assert first('train') == 'train'
    assert first('test') == 'test'


def test_an_unknown_part_is_refused():
    with pytest.raises(
        ValueError,
        match=r"part='val'; must be one of \['search', 'held', 'train'\]",
    ):
        split_dataset(dict(type='SplitToy'), 'val', PARTS)


def test_the_data_set_is_cut_not_copied(monkeypatch):
    # mmengine's copies share one memo of ids: in a long process the pipeline
    # of a copy can become another object.
    monkeypatch.delattr(
        'mmengine.dataset.BaseDataset._copy_without_annotation'
    )
    cfg = dict(
        type='eavit_mm.Split',
        part='a',
        parts=dict(a=5, b=None),
        dataset=dict(type='eavit_mm.Digits'),
    )
    assert len(DATASETS.build(cfg)) == 5
