"""Seeded, disjoint parts of one data set (train, search, ...)."""

from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate, chain, islice
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS as MMPRETRAIN_DATASETS

from eavit_mm.datasets.samples import samples_of
from eavit_mm.options import check_count, check_flag, check_mapping, is_int
from eavit_mm.registry import DATASETS


def partition(
    num_samples: int,
    parts: Mapping[str, int | None],
    seed: int,
    labels: Sequence[Hashable] | None = None,
) -> dict[str, list[int]]:
    """Cuts ``range(num_samples)`` into named, disjoint, seeded parts.

    Args:
        num_samples: Samples to divide.
        parts: Name to size; one size may be None: whatever is left.
        seed: Seed of the shuffle.
        labels: If given, each part gets its share of every class, rounded
            up or down, and at least one image where there are enough.

    Returns:
        Name to sorted indices.

    Raises:
        ValueError: If the sizes do not fit, or more than one is None.
    """
    check_count('seed', seed)
    sizes = {name: size for name, size in parts.items() if size is not None}
    valid = all(is_int(size) and size > 0 for size in sizes.values())
    if len(parts) - len(sizes) > 1 or not valid:
        raise ValueError(
            f'parts={dict(parts)}: sizes must be positive integers, at most '
            'one None'
        )
    rest = num_samples - sum(sizes.values())
    if rest < (len(sizes) < len(parts)):
        raise ValueError(
            f'parts={dict(parts)} ask for more than the {num_samples} '
            'samples there are'
        )
    rng = np.random.default_rng(seed)
    # The samples of each class in a drawn order, and the classes in another.
    queues: dict[Hashable, list[int]] = {}
    for index in rng.permutation(num_samples).tolist():
        label = None if labels is None else labels[index]
        queues.setdefault(label, []).append(index)
    sizes = {name: sizes.get(name, rest) for name in parts}
    left = [len(queue) for queue in queues.values()]
    shares = {}
    # From the smallest part on: no part takes what a later one needs.
    waiting = sorted(sizes, key=sizes.__getitem__, reverse=True)
    while waiting:
        name = waiting.pop()
        share = _share_of_classes(left, sizes[name], len(waiting), rng)
        left = [n - taken for n, taken in zip(left, share, strict=True)]
        shares[name] = share
    draws = [iter(queue) for queue in queues.values()]
    return {k: sorted(chain(*map(islice, draws, shares[k]))) for k in parts}


def balanced_order(dataset: Any, seed: int) -> list[int]:
    """A drawn order of a data set: any beginning has the shares of the whole.

    Of each class, to a few images; where labels are not known, the data set
    is shuffled.
    """
    labels = [repr(sample.get('gt_label')) for sample in samples_of(dataset)]
    if len(labels) != len(dataset):
        labels = [''] * len(dataset)
    _, classes = np.unique(labels, return_inverse=True)
    rng = np.random.default_rng(seed)
    # Between 0 and 1, each class evenly.
    places = np.empty(len(labels))
    for each in range(classes.max() + 1):
        of_class = rng.permutation(np.flatnonzero(classes == each))
        steps = np.arange(len(of_class)) + rng.random()
        places[of_class] = steps / len(of_class)
    return np.argsort(places).tolist()


def _share_of_classes(
    left: Sequence[int], size: int, later: int, rng: np.random.Generator
) -> list[int]:
    """How many samples of each class a part gets.

    In proportion, rounded by systematic sampling: where several classes
    claim one sample more, it is drawn who gets it.

    Args:
        left: Samples of each class that no other part has.
        size: Samples of the part.
        later: How many parts, no smaller, take from what is left then.
        rng: For the drawing.
    """
    total = sum(left)
    # One is sure for each class that has one for every part.
    sure = [int(number > later) for number in left]
    if sum(sure) > size:
        sure = [0] * len(left)
    more = zip(left, sure, strict=True)
    weights = [max(n * size - one * total, 0) for n, one in more]
    whole = max(sum(weights), 1)
    spare, offset = size - sum(sure), int(rng.integers(whole))
    ends = [(end * spare + offset) // whole for end in accumulate(weights)]
    steps = zip(sure, [0, *ends], ends, strict=False)
    return [one + end - begin for one, begin, end in steps]


@DATASETS.register_module(name='Split')
def split_dataset(
    dataset: dict[str, Any],
    part: str,
    parts: Mapping[str, int | None],
    seed: int = 0,
    balanced: bool = True,
    pipeline: Sequence[Any] | None = None,
) -> Any:
    """Builds a data set and keeps one of its parts.

    Args:
        dataset: Config of the data set to divide; not one that wraps others.
        part: Which of ``parts`` to keep.
        parts: Name to number of samples; None for the rest.
        seed: Seed of the division.
        balanced: Give each part its share of every class, or of every
            combination of several labels. False makes the parts independent
            of the labels, so that data sets over the same samples agree.
        pipeline: In place of the data set's own; mmpretrain's tools look for
            it here.

    Returns:
        The data set, reduced to the part.

    Raises:
        ValueError: If ``part`` is unknown, sizes do not fit, or it wraps.

    Example:
        >>> dict(type='eavit_mm.Split', part='search', seed=0,
        ...      parts=dict(search=150, train=None), pipeline=[],
        ...      dataset=dict(type='eavit_mm.Digits', split='train'))
    """
    check_mapping('parts', parts, 'names and sizes')
    if not isinstance(part, str) or part not in parts:
        raise ValueError(f'part={part!r}; must be one of {list(parts)}')
    check_flag('balanced', balanced)
    check_mapping('dataset', dataset, "a data set's config")
    if pipeline is not None:
        dataset = {**dataset, 'pipeline': pipeline}
    built: Any = MMPRETRAIN_DATASETS.build(dataset)
    is_one = isinstance(built, BaseDataset)
    if not is_one and not hasattr(built, 'data_list'):
        raise ValueError(
            f'dataset.type={dataset.get("type")!r}: what wraps data sets '
            'cannot be divided; give the part itself to the wrapper'
        )
    labels = None
    if balanced:
        labels = [repr(info.get('gt_label')) for info in samples_of(built)]
    indices = partition(len(built), parts, seed, labels)[part]
    if is_one:
        # Not get_subset: its copies share one memo of ids, and in a long
        # process an id comes back with another object behind it.
        built.get_subset_(indices)
    else:
        built.data_list = [built.data_list[index] for index in indices]
    return built
