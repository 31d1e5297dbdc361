"""Parts of a data set: disjoint, complete, seeded and balanced."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS

from eavit_mm.datasets import split_dataset
from eavit_mm.datasets.samples import samples_of
from eavit_mm.datasets.split import balanced_order, partition


class _Labelled(list[int]):
    """Labels as a data set of mmpretrain's that is none of mmengine's."""

    @property
    def data_list(self) -> list[dict[str, int]]:
        return [dict(gt_label=label) for label in self]


@st.composite
def cuts(draw: Any) -> tuple[int, dict[str, int | None]]:
    number = draw(st.integers(2, 60))
    parts: dict[str, int | None] = {}
    left = number - 1
    for name in 'abcd'[: draw(st.integers(1, 4))]:
        if left:
            parts[name] = draw(st.integers(1, left))
            left -= parts[name]
    return number, parts | dict.fromkeys(draw(st.sampled_from(['', 'r'])))


@settings(deadline=None, max_examples=30)
@given(case=cuts(), seed=st.integers(0, 9), classes=st.integers(0, 5))
def test_parts_are_disjoint_complete_and_sorted(case, seed, classes):
    number, parts = case
    labels = None
    if classes:
        labels = np.random.default_rng(seed).integers(classes, size=number)
    found = partition(number, parts, seed, labels)
    assert list(found) == list(parts)
    taken = sum(found.values(), [])
    assert len(taken) == len(set(taken))
    assert set(taken) <= set(range(number))
    assert len(taken) == number or 'r' not in parts
    for name, size in parts.items():
        assert found[name] == sorted(found[name])
        assert size in (None, len(found[name]))


@settings(deadline=None, max_examples=40)
@given(
    counts=st.lists(st.integers(3, 60), min_size=1, max_size=6),
    first=st.integers(0, 40),
    second=st.integers(0, 40),
    seed=st.integers(0, 9),
)
def test_a_class_gets_its_share_and_is_in_every_part(
    counts, first, second, seed
):
    # As many parts as the rarest class may have images.
    room = sum(counts) - 3 * len(counts)
    first = len(counts) + min(first, room)
    second = len(counts) + min(second, sum(counts) - first - 2 * len(counts))
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = dict(test=first, train=None, search=second)
    found = partition(len(labels), parts, seed, labels)
    for name, indices in found.items():
        held = np.bincount(labels[indices], minlength=len(counts))
        assert held.min() >= 1, name
        quotas = np.array(counts) * len(indices) / len(labels)
        if quotas.min() >= 1 and name == min(
            found, key=lambda n: len(found[n])
        ):
            assert np.abs(held - quotas).max() < 1


def test_rare_classes_keep_images_in_every_part():
    labels = np.repeat(range(4), (170, 170, 20, 6))
    found = partition(366, dict(test=73, search=29, train=None), 0, labels)
    counts = {k: np.bincount(labels[v]).tolist() for k, v in found.items()}
    assert counts['test'] in ([34, 34, 4, 1], [34, 33, 4, 2], [33, 34, 4, 2])
    assert min(map(min, counts.values())) == 1
    # Fewer images than parts: no part is promised one.
    found = partition(9, dict(a=1, b=1, c=None), 0, [0] * 7 + [1] * 2)
    assert [len(indices) for indices in found.values()] == [1, 1, 7]


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


def test_the_beginnings_of_an_order_are_balanced():
    labels = 30 * [0] + 50 * [1] + 20 * [2]
    data = _Labelled(labels)
    order = balanced_order(data, seed=3)
    assert sorted(order) == [*range(100)]
    for end in range(100):
        counts = Counter(labels[index] for index in order[:end])
        for label, number in Counter(labels).items():
            assert abs(counts[label] - number * end / 100) < 2
    assert balanced_order(data, seed=3) == order
    # Of a class too any image may come first.
    others = [balanced_order(data, seed=seed) for seed in range(9)]
    assert len({min(other[:9]) for other in others}) > 3


@pytest.mark.parametrize('data', [range(50), _Labelled([7] * 50)])
def test_without_labels_or_with_one_an_order_is_a_shuffle(data):
    order = balanced_order(data, seed=0)
    assert sorted(order) == [*range(50)] != order


@pytest.mark.parametrize(
    ('parts', 'message'),
    [
        (dict(a=None, b=None), 'positive integers, at most one None'),
        (dict(a=0, b=None), 'sizes must be positive'),
        (dict(a=-2, b=None), 'sizes must be positive'),
        (dict(a=5, b=6), 'ask for more than the 10 samples there are'),
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


def numbers(dataset: BaseDataset) -> list[int]:
    return [dataset.get_data_info(i)['number'] for i in range(len(dataset))]


TOY = dict(type='SplitToy')
PARTS = dict(search=6, held=5, train=None)
SIZES = dict(search=6, held=5, train=19)


@pytest.mark.parametrize('lazy', [False, True])
def test_a_config_takes_one_part(lazy):
    inner = dict(TOY, lazy_init=lazy)
    cfg = dict(type='eavit_mm.Split', dataset=inner, parts=PARTS)
    found = {part: DATASETS.build(dict(cfg, part=part)) for part in PARTS}
    assert {k: len(v) for k, v in found.items()} == SIZES
    taken = sum(map(numbers, found.values()), [])
    assert sorted(taken) == list(range(30))
    classes = Counter(n % 3 for n in numbers(found['search']))
    assert classes == {0: 2, 1: 2, 2: 2}
    assert type(found['train']) is SplitToy
    assert inner == dict(TOY, lazy_init=lazy)


def test_parts_of_other_labels_agree_if_they_are_not_balanced():
    def search(**options: Any) -> list[int]:
        return numbers(split_dataset(TOY, 'search', PARTS, **options))

    expected = partition(30, PARTS, 0)['search']
    assert search(balanced=False) == expected
    assert search() != expected
    assert search(seed=1, balanced=False) != expected


@DATASETS.register_module()
class Annotated(BaseDataset):
    """Samples that are given, with whatever labels."""

    def __init__(self, infos: list[dict[str, Any]], **kwargs: Any) -> None:
        self.infos = infos
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        return list(self.infos)  # mmengine empties it


def several_tasks(folder: Path) -> dict[str, Any]:
    labels = [dict(kind=i % 2, marks=[i % 3 // 2, 1]) for i in range(30)]
    data = [
        dict(img_path=f'{i}.png', gt_label=label)
        for i, label in enumerate(labels)
    ]
    content = dict(metainfo=dict(tasks=['kind', 'marks']), data_list=data)
    (folder / 'all.json').write_text(json.dumps(content))
    return dict(
        type='MultiTaskDataset', ann_file='all.json', data_root=str(folder)
    )


@pytest.mark.parametrize('kind', ['labels', 'tasks', 'none'])
def test_any_labels_or_none(kind, tmp_path):
    labels = [dict(gt_label=v) for v in ([0], [0, 1], [0])] * 10
    if kind == 'none':
        labels = [{}] * 30
    infos = [dict(img_path=f'{i}.png', **v) for i, v in enumerate(labels)]
    cfg = dict(type='Annotated', infos=infos)
    if kind == 'tasks':
        cfg = several_tasks(tmp_path)
    found = {part: split_dataset(cfg, part, PARTS) for part in PARTS}
    assert type(found['train']) is type(DATASETS.build(cfg))
    taken = {
        part: [int(Path(info['img_path']).stem) for info in samples_of(data)]
        for part, data in found.items()
    }
    assert {k: len(v) for k, v in taken.items()} == SIZES
    assert sorted(sum(taken.values(), [])) == list(range(30))
    search = taken['search']
    if kind == 'labels':  # a combination is a class
        assert Counter(n % 3 == 1 for n in search) == {False: 4, True: 2}
    elif kind == 'tasks':
        counts = Counter((n % 2, n % 3 // 2) for n in search)
        assert counts == {(0, 0): 2, (1, 0): 2, (0, 1): 1, (1, 1): 1}
    else:
        assert search == partition(30, PARTS, 0)['search']


def test_what_is_refused():
    cfg = dict(type='RepeatDataset', times=2, dataset=TOY)
    with pytest.raises(ValueError, match='RepeatDataset.: what wraps data'):
        split_dataset(cfg, 'search', PARTS)
    words = r"part='val'; must be one of \['search', 'held', 'train'\]"
    with pytest.raises(ValueError, match=words):
        split_dataset(TOY, 'val', PARTS)


def test_each_part_has_its_own_pipeline():
    @DATASETS.register_module(force=True)
    class Marked(SplitToy):
        def prepare_data(self, index: int) -> Any:
            return self.pipeline(self.get_data_info(index))

    def first(mark: str, **inner: Any) -> Any:
        pipeline = [lambda info: {**info, 'mark': mark}]
        cfg = dict(type='Marked', **inner)
        return split_dataset(cfg, 'search', PARTS, pipeline=pipeline)[0][
            'mark'
        ]

    # Where mmpretrain's tools look for it, before that of the data set.
    assert first('outer', pipeline=[None]) == 'outer'
    assert first('train') == 'train'
    assert first('test') == 'test'


def test_the_data_set_is_cut_not_copied(monkeypatch):
    # mmengine's copies share one memo of ids: in a long process the pipeline
    # of a copy can become another object.
    monkeypatch.delattr(
        'mmengine.dataset.BaseDataset._copy_without_annotation'
    )
    assert len(split_dataset(TOY, 'a', dict(a=5, b=None))) == 5
