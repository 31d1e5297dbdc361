"""Oxford 102 Flowers in its format on disk, with few flowers."""

import pytest
from mmpretrain.registry import DATASETS

from eavit_mm.datasets import Flowers102

from .flowers import write
from .idx import content

FILES = ('jpg', 'imagelabels.mat', 'setid.mat')
SIZES = dict(train=6, val=6, trainval=12, test=6)


def number(info: dict) -> int:
    return int(info['img_path'].rsplit('_', 1)[-1].removesuffix('.jpg'))


@pytest.mark.parametrize('compressed', [True, False])
def test_the_splits_are_those_of_the_files(tmp_path, compressed):
    labels = write(tmp_path / 'flowers', compressed=compressed)
    found = {
        split: content(Flowers102(str(tmp_path / 'flowers'), split))
        for split in SIZES
    }
    assert {k: len(v) for k, v in found.items()} == SIZES
    for infos in found.values():
        for info in infos:
            assert info['gt_label'] == labels[number(info) - 1] - 1
    trainval = {number(i) for i in found['trainval']}
    assert trainval == {
        number(i) for split in ('train', 'val') for i in found[split]
    }
    assert not trainval & {number(i) for i in found['test']}


def test_images_are_read(tmp_path):
    write(tmp_path / 'flowers')
    data = DATASETS.build(
        dict(
            type='eavit_mm.Flowers102',
            data_root=str(tmp_path / 'flowers'),
            split='test',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='CenterCrop', crop_size=24),
                dict(type='PackInputs'),
            ],
        )
    )
    assert data.test_mode
    for index in range(len(data)):
        sample = data[index]
        assert sample['inputs'].shape == (3, 24, 24)
        label = int(sample['data_samples'].gt_label)
        # mmcv reads BGR; the brightest colour is that of the class.
        means = sample['inputs'].float().mean((1, 2)).flip(0)
        assert int(means.argmax()) == (label + 1) % 3


@pytest.mark.parametrize('there', [(), FILES[:1], FILES[:2], FILES[1:]])
def test_every_missing_file_is_named(tmp_path, there):
    write(tmp_path / 'whole')
    root = tmp_path / 'flowers'
    root.mkdir()
    for name in there:
        (tmp_path / 'whole' / name).rename(root / name)
    with pytest.raises(FileNotFoundError) as error:
        Flowers102(str(root))
    head, _, source = str(error.value).partition('. Get ')
    missing = head.partition(f'missing in {root}: ')[2].split(', ')
    assert missing == [name for name in FILES if name not in there]
    assert '102flowers.tgz' in source
    assert 'www.robots.ox.ac.uk/~vgg/data/flowers/102' in source
