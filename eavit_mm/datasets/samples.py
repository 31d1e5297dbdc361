"""What data sets know of their samples, before an image is read."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.dataset import BaseDataset


def leaves_of(dataset: Any) -> Iterator[Any]:
    """The data sets inside wrappers such as ``ConcatDataset``."""
    inner = list(getattr(dataset, 'datasets', ()))
    if hasattr(dataset, 'dataset'):
        inner.append(dataset.dataset)
    if isinstance(dataset, BaseDataset) or not inner:
        yield dataset
        return
    for part in inner:
        yield from leaves_of(part)


def samples_of(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """What a data set, or those that it wraps, know of each sample.

    Such as ``img_path``, ``gt_label``, ``sample_id``; of a data set that is
    none of mmengine's nor mmpretrain's, one empty dict: nothing is known.
    """
    for leaf in leaves_of(dataset):
        if isinstance(leaf, BaseDataset):
            leaf.full_init()
            yield from map(leaf.get_data_info, range(len(leaf)))
        else:  # mmpretrain's MultiTaskDataset has a list
            for sample in getattr(leaf, 'data_list', [{}]):
                yield sample if isinstance(sample, Mapping) else {}


def name_of(sample: Mapping[str, Any]) -> str:
    """A sample's ``img_path`` or ``sample_id``, else its number."""
    for key in ('img_path', 'sample_id'):
        if key in sample:
            return str(sample[key])
    return f'sample {sample.get("sample_idx", "?")}'
