"""What of the data of a search stays in memory, and when nothing does."""

from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmseg.datasets.transforms import PackSegInputs
from mmseg.models import SegDataPreProcessor
from torch.utils.data import DataLoader, Dataset

from eavit_mm.engine import kept_data
from eavit_mm.engine.kept_data import KeptData
from eavit_mm.engine.search_header import digest

SIZES = [(6, 4), (3, 5), (8, 2)]


class Masked(Dataset):
    """Images of different sizes with masks, packed; notes what is read."""

    def __init__(self, largest: int = 254) -> None:
        self.largest, self.read = largest, list[int]()

    def __len__(self) -> int:
        return len(SIZES)

    def __getitem__(self, index: int) -> Any:
        self.read.append(index)
        shape = SIZES[index]
        rng = np.random.default_rng(index)
        image = rng.integers(256, size=(*shape, 3), dtype=np.uint8)
        mask = np.full(shape, self.largest)
        mask[0] = index
        return PackSegInputs()(dict(img=image, gt_seg_map=mask))


def loader_of(data: Any, **options: Any) -> DataLoader[Any]:
    return DataLoader(data, collate_fn=pseudo_collate, **options)


def memory(monkeypatch: Any, **free: float) -> None:
    monkeypatch.setattr(
        kept_data, '_free_memory', lambda device: free[device.type]
    )


def tensors_of(kept: KeptData) -> list[list[torch.Tensor]]:
    """The images and masks that are kept, batch by batch."""
    return [
        [*b['inputs'], *(s.gt_sem_seg.data for s in b['data_samples'])]
        for b in kept.batches
    ]


def test_images_and_masks_take_a_byte_for_each_value():
    data = Masked()
    loader = loader_of(data)
    kept = KeptData(loader, SegDataPreProcessor().cast_data)
    sizes = [sum(t.nbytes for t in tensors) for tensors in tensors_of(kept)]
    assert sizes == [4 * height * width for height, width in SIZES]
    assert digest(*kept) == digest(*loader)  # int64 masks, as packed
    assert data.read == 2 * [0, 1, 2]
    # What a prediction adds to its samples is not kept.
    for batch in kept:
        (sample,) = batch['data_samples']
        sample.set_data(dict(note=torch.ones(9)))
        sample.gt_sem_seg.data.fill_(7)
    assert digest(*kept) == digest(*loader)


def test_labels_that_are_no_bytes_stay_as_they_are():
    loader = loader_of(Masked(largest=300))
    kept = KeptData(loader, SegDataPreProcessor().cast_data)
    assert digest(*kept) == digest(*loader)


@pytest.mark.parametrize('free', [1e9, 0])
def test_parts_of_the_images(monkeypatch, free):
    """Of batches that are kept, and of those that are read anew."""
    memory(monkeypatch, cpu=free)
    data = Masked() + Masked()
    loader = loader_of(data, batch_size=2)
    kept = KeptData(loader, SegDataPreProcessor().cast_data)
    whole = [data[index]['inputs'] for index in range(6)]
    for begin in range(6):
        for end in range(begin + 1, 7):
            parts = [*kept.images(begin, end)]
            found = [image for part in parts for image in part]
            assert len(found) == end - begin
            assert all(map(torch.equal, found, whole[begin:end]))
            assert max(map(len, parts)) <= 2


@pytest.mark.parametrize(('free', 'times'), [(385, 1), (384, 4)])
def test_what_does_not_fit_is_read_anew(monkeypatch, free, times):
    """After the first, two more of 96 bytes must fit into half of it."""
    memory(monkeypatch, cpu=free)
    data = Masked()
    kept = KeptData(loader_of(data), SegDataPreProcessor().cast_data)
    codes = {digest(*kept) for _ in range(3)}
    # The first is read to see how large it is.
    assert data.read == ([0, 1, 2] if times == 1 else [0] + 3 * [0, 1, 2])
    assert codes == {digest(*loader_of(Masked()))}


@pytest.mark.parametrize(('free', 'place'), [(385, 'meta'), (384, 'cpu')])
def test_what_does_not_fit_on_the_device_stays_outside(
    monkeypatch, free, place
):
    memory(monkeypatch, cpu=1e9, meta=free)
    preprocessor = SegDataPreProcessor()
    preprocessor._device = torch.device('meta')
    kept = KeptData(loader_of(Masked()), preprocessor.cast_data)
    for tensors in tensors_of(kept):
        assert {tensor.device.type for tensor in tensors} == {place}


@pytest.mark.parametrize(
    ('kind', 'names'),
    [
        ('', ('max', 'current', 'inactive_file')),
        (
            'memory',
            ('limit_in_bytes', 'usage_in_bytes', 'total_inactive_file'),
        ),
    ],
)
def test_a_limit_of_a_container_or_a_job_counts(tmp_path, kind, names):
    """That of the group itself, and of those above; pages of files do not."""
    limit, used, files = names
    note, root = tmp_path / 'note', tmp_path / 'cgroup'
    note.write_text(f'3:cpu:/job\n0:{kind}:/job/step\n')
    for place, most in (('', '900'), ('job/step', 'max')):
        group = root / kind / place
        group.mkdir(parents=True, exist_ok=True)
        (group / f'memory.{limit}').write_text(f'{most}\n')
        (group / f'memory.{used}').write_text('300\n')
        (group / 'memory.stat').write_text(f'anon 200\n{files} 100\n')
    assert [*kept_data._free_of_groups(note, root)] == [700]
    assert [*kept_data._free_of_groups(tmp_path / 'none', root)] == []
