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


def samples_of(dataset: Any) -> Iterator[dict[str, Any]]:
    """What a data set, or those that it wraps, know of each sample.

    Such as ``img_path``, ``gt_label``, ``sample_id``.

    Raises:
        ValueError: If it is none of mmengine's nor mmpretrain's.
    """
    for leaf in leaves_of(dataset):
        if isinstance(leaf, BaseDataset):
            leaf.full_init()
            yield from map(leaf.get_data_info, range(len(leaf)))
        elif isinstance(getattr(leaf, 'data_list', None), list):
            # mmpretrain's MultiTaskDataset.
            yield from leaf.data_list
        else:
            raise ValueError(
                f'samples of {type(leaf).__name__} cannot be told apart: in '
                'a BaseDataset of mmengine, wrapped or not, one of sample_id, '
                'img_path or img is needed'
            )


def name_of(sample: Mapping[str, Any]) -> str:
    """A sample's ``img_path`` or ``sample_id``, else its number."""
    for key in ('img_path', 'sample_id'):
        if key in sample:
            return str(sample[key])
    return f'sample {sample.get("sample_idx", "?")}'
