"""What a data set knows of its samples, before an image is read."""

from collections.abc import Iterator
from typing import Any

from mmengine.dataset import BaseDataset


def infos_of(dataset: Any) -> Iterator[dict[str, Any]]:
    """The dict of each sample: ``img_path``, ``gt_label`` and the like.

    Args:
        dataset: One of mmengine's, or one that keeps its samples in a
            ``data_list``, as mmpretrain's of several tasks does.

    Raises:
        ValueError: If it is neither, such as a wrapper of others.
    """
    if isinstance(dataset, BaseDataset):
        dataset.full_init()
        return map(dataset.get_data_info, range(len(dataset)))
    if not isinstance(getattr(dataset, 'data_list', None), list):
        raise ValueError(
            f'{type(dataset).__name__} does not say what its samples are; '
            "must be a data set of mmengine's or mmpretrain's itself, none "
            'that wraps others'
        )
    return iter(dataset.data_list)
