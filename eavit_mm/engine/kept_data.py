"""Data that several subnets are evaluated on, read once if they fit."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from math import inf
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.structures import PixelData
from torch import Tensor
from torch.utils.data import DataLoader

# Share of the memory that is free, of a machine or a GPU, for data that stay.
_SHARE = 0.5
# Of control groups, by controller (version 2 names none): limit, use, files.
_GROUPS = {
    '': 'max current inactive_file',
    'memory': 'limit_in_bytes usage_in_bytes total_inactive_file',
}


class KeptData:
    """Batches as the pipeline packs them, as often as they are asked for.

    They are kept on a device, what does not fit there in the memory of the
    machine, masks in one byte a pixel; data that do not fit into that either
    are read anew each time.

    Args:
        dataloader: Its whole data, whichever part its sampler takes.
        cast: Brings a batch to the device.
    """

    def __init__(
        self, dataloader: DataLoader[Any], cast: Callable[[Any], Any]
    ) -> None:
        # The loader's own sampler gives each rank another part of the data.
        whole = DataLoader(
            dataloader.dataset,
            batch_size=dataloader.batch_size,
            num_workers=dataloader.num_workers,
            collate_fn=dataloader.collate_fn,
        )
        self.size = len(dataloader.dataset)  # type: ignore[arg-type]
        self.batches: Iterable[Any] = whole
        kept: list[Any] = []
        to_device = True
        for batch in whole:
            small = _with_masks(batch, torch.uint8)
            if whole.num_workers:  # what they send holds files open
                small = deepcopy(small)
            left = len(whole) - len(kept) - 1
            if to_device:
                moved = cast(small)
                to_device = _fits(moved, left)
            kept.append(moved if to_device else small)
            if not _fits(kept[-1], left):
                how = 'read anew for each subnet: they do not fit into memory'
                break
        else:
            how, self.batches = 'kept in memory', kept
        print_log(f'{self.size} images to evaluate with: {how}', 'current')

    def images(self, begin: int, end: int) -> Iterator[Any]:
        """The images from one number up to another, in batches."""
        for batch in self.batches:
            part = batch['inputs'][max(begin, 0) : end]
            if len(part):
                yield part
            begin, end = (at - len(batch['inputs']) for at in (begin, end))
            if end <= 0:
                return

    def __iter__(self) -> Iterator[Any]:
        """Batches as they were packed, whose samples may be changed."""
        return (_with_masks(batch, torch.int64) for batch in self.batches)


def _with_masks(batch: Any, dtype: torch.dtype) -> Any:
    """A batch with new samples, whose masks are of a type that holds them."""
    if not isinstance(batch, Mapping) or not batch.get('data_samples'):
        return batch
    samples = [sample.clone() for sample in batch['data_samples']]
    for sample in samples:
        if 'gt_sem_seg' in sample:
            mask = sample.gt_sem_seg.data
            if torch.equal(mask.to(dtype).to(mask.dtype), mask):
                sample.gt_sem_seg = PixelData(data=mask.to(dtype))
    return {**batch, 'data_samples': samples}


def _fits(batch: Any, number: int) -> bool:
    """Whether so many such batches more leave room to compute."""
    images: list[Tensor] = list(batch['inputs'])
    samples = batch.get('data_samples') or ()
    masks = [s.gt_sem_seg.data for s in samples if 'gt_sem_seg' in s]
    needed = number * sum(part.nbytes for part in (*images, *masks))
    return needed < _SHARE * _free_memory(images[0].device)


def _free_memory(device: torch.device) -> float:
    """Bytes that this process can still have; infinite if it is not known."""
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0]
    free = [inf, *_free_of_groups()]
    with suppress(OSError, ValueError):
        words = Path('/proc/meminfo').read_text().split()
        free.append(1024 * int(words[words.index('MemAvailable:') + 1]))
    return min(free)


def _free_of_groups(
    note: Path = Path('/proc/self/cgroup'), root: Path = Path('/sys/fs/cgroup')
) -> Iterator[float]:
    """Bytes below each limit of a container or a batch job."""
    text = note.read_text() if note.is_file() else ''
    for line in text.splitlines():
        _, kind, own = line.split(':', 2)
        # Within a container its group lies at the root, whatever this says.
        place = Path(root, kind, own.lstrip('/'))
        for group in (place, *place.parents) if kind in _GROUPS else ():
            limit, used, files = _GROUPS[kind].split()
            # No group, or 'max': no limit.
            with suppress(OSError, ValueError):
                most = int((group / f'memory.{limit}').read_text())
                now = int((group / f'memory.{used}').read_text())
                stat = (group / 'memory.stat').read_text().split()
                # The kernel gives pages of files back.
                yield most - now + int(stat[stat.index(files) + 1])
