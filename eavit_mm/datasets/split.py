"""Seeded, disjoint parts of one data set (train, search, ...)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS as MMENGINE_DATASETS

from eavit_mm.options import check_count, check_flag, check_mapping, is_int
from eavit_mm.registry import DATASETS


def partition(
    num_samples: int,
    parts: Mapping[str, int | None],
    seed: int,
    labels: Sequence[int] | None = None,
) -> dict[str, list[int]]:
    """Cuts ``range(num_samples)`` into named, disjoint, seeded parts.

    Args:
        num_samples: Samples to divide.
        parts: Name to size; one size may be None: whatever is left.
        seed: Seed of the shuffle.
        labels: If given, each part gets its even share of every class.

    Returns:
        Name to sorted indices.

    Raises:
        ValueError: If the sizes do not fit, or more than one is None.
    """
    check_mapping('parts', parts, 'names and sizes')
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
    order = np.random.default_rng(seed).permutation(num_samples)
    if labels is not None:
        order = _interleave_classes(order, np.asarray(labels))
    indices, begin = {}, 0
    for name, size in parts.items():
        end = begin + (rest if size is None else size)
        indices[name] = sorted(order[begin:end].tolist())
        begin = end
    return indices


def _interleave_classes(order: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Sorts a shuffle so that every prefix of it is balanced by class."""
    rank = np.empty(len(order), dtype=np.int64)
    for label in np.unique(labels):
        where = np.flatnonzero(labels[order] == label)
        rank[where] = np.arange(len(where))
    return order[np.argsort(rank, kind='stable')]


@DATASETS.register_module(name='Split')
def split_dataset(
    dataset: dict[str, Any],
    part: str,
    parts: Mapping[str, int | None],
    seed: int = 0,
    balanced: bool = True,
) -> BaseDataset:
    """Builds a data set and keeps one of its parts.

    Args:
        dataset: Config of the data set to divide.
        part: Which of ``parts`` to keep.
        parts: Name to number of samples; None for the rest.
        seed: Seed of the division.
        balanced: Give each part its even share of every class, where the
            data set knows its labels. False makes the parts independent of
            the labels, so that data sets over the same samples agree.

    Returns:
        The data set, reduced to the part, with its own pipeline.

    Raises:
        ValueError: If ``part`` is unknown or the sizes do not fit.

    Example:
        >>> dict(type='eavit_mm.Split', part='search', seed=0,
        ...      parts=dict(search=204, train=None),
        ...      dataset=dict(type='Flowers102', split='trainval', ...))
    """
    check_mapping('parts', parts, 'names and sizes')
    if not isinstance(part, str) or part not in parts:
        raise ValueError(f'part={part!r}; must be one of {list(parts)}')
    check_flag('balanced', balanced)
    check_mapping('dataset', dataset, "a data set's config")
    built = MMENGINE_DATASETS.build(dataset)
    built.full_init()
    known = balanced and hasattr(built, 'get_gt_labels')
    labels: Any = built.get_gt_labels() if known else None
    if np.ndim(labels) != 1:  # several labels of an image
        labels = None
    indices = partition(len(built), parts, seed, labels)[part]
    # Not get_subset: its copies share one memo of ids, and in a process that
    # builds many data sets an id comes back with another object behind it.
    built.get_subset_(indices)
    return built
