"""Fashion-MNIST from tiny files in the format of the real ones."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from mmpretrain.registry import DATASETS

from eavit_mm.datasets import Fashion40, FashionMNIST, fashion, split_dataset

from .idx import content, idx, names, toy, write


@pytest.fixture(autouse=True)
def no_package(monkeypatch, tmp_path):
    """As on a machine without the package."""
    monkeypatch.setattr(fashion, 'PACKAGE_ROOT', str(tmp_path / 'none'))


@pytest.fixture(params=[True, False], ids=['gz', 'plain'])
def root(request, tmp_path):
    return write(tmp_path / 'data', request.param)


@pytest.mark.parametrize('split', ['train', 'test'])
def test_images_and_labels_are_those_of_the_files(root, split):
    found = content(FashionMNIST(str(root), split))
    for i, (image, label) in enumerate(zip(*toy(split), strict=True)):
        info = found.pop(0)
        assert np.array_equal(info['img'], image)
        assert info['img'].dtype == np.uint8
        assert info['gt_label'] == label
        assert info['sample_id'] == f'{split}/{i:05d}'
    assert not found


@pytest.mark.parametrize('kind', [FashionMNIST, Fashion40])
def test_a_config_names_them(root, kind):
    cfg = dict(type=f'eavit_mm.{kind.__name__}', data_root=str(root))
    found = DATASETS.build(dict(cfg, split='test'))
    assert type(found) is kind
    assert len(found) == 20
    assert found.test_mode


@pytest.mark.parametrize('split', ['train', 'test'])
def test_every_image_is_turned_as_its_label_says(root, split):
    images, labels = toy(split)
    found = content(Fashion40(str(root), split))
    assert {info['gt_label'] % 4 for info in found} == {0, 1, 2, 3}
    for image, label, info in zip(images, labels, found, strict=True):
        turn = info['gt_label'] % 4
        assert info['gt_label'] == 4 * label + turn
        # A quarter turn by hand: the last column becomes the first row.
        for _ in range(turn):
            image = image.T[::-1]
        assert np.array_equal(info['img'], image)
        assert info['img'].flags['C_CONTIGUOUS']
        if turn:
            assert not np.array_equal(info['img'], images[0])


def test_rotations_are_fixed_by_their_seed(root):
    def labels(seed: int, split: str = 'train') -> list[int]:
        data = Fashion40(str(root), split, rotation_seed=seed)
        return [info['gt_label'] for info in content(data)]

    assert labels(0) == labels(0)
    assert labels(0) != labels(1)
    assert [k % 4 for k in labels(0)] != [k % 4 for k in labels(0, 'test')]


def test_forty_classes_have_names():
    classes = Fashion40.METAINFO['classes']
    assert len(classes) == len(set(classes)) == 40
    plain = FashionMNIST.METAINFO['classes']
    assert classes[4 * 3 + 2] == f'{plain[3]} 180'
    assert classes[:4] == tuple(f'{plain[0]} {d}' for d in (0, 90, 180, 270))


def test_both_data_sets_are_cut_alike_if_not_balanced(root):
    parts = dict(pretrain=9, search=4, train=None)

    def ids(kind: str) -> list[list[str]]:
        cfg = dict(type=kind, data_root=str(root), split='train')
        cut = (split_dataset(cfg, p, parts, balanced=False) for p in parts)
        return [[info['sample_id'] for info in content(data)] for data in cut]

    plain = ids('eavit_mm.FashionMNIST')
    assert plain == ids('eavit_mm.Fashion40')
    assert sorted(sum(plain, [])) == [f'train/{i:05d}' for i in range(20)]


def missing_files(folder: Path, split: str) -> list[str]:
    """The files that an error names; it names folder and remedy as well."""
    with pytest.raises(FileNotFoundError) as error:
        FashionMNIST(str(folder), split)
    text, remedy = str(error.value).split('. Get the four ')
    assert 'apt-get install dataset-fashion-mnist' in remedy
    found = text.removeprefix(f'Fashion-MNIST: missing in {folder}: ')
    return [name.removesuffix('.gz') for name in found.split(', ')]


@pytest.mark.parametrize('compressed', [True, False])
def test_every_missing_file_is_named(tmp_path, compressed):
    assert missing_files(tmp_path, 'train') == names('train')
    write(tmp_path, compressed, splits=('train',))
    # One split is enough.
    assert len(FashionMNIST(str(tmp_path), 'train')) == 20
    assert missing_files(tmp_path, 'test') == names('test')
    _, labels = names('train')
    next(tmp_path.glob(f'{labels}*')).unlink()
    assert missing_files(tmp_path, 'train') == [labels]


def test_plain_and_compressed_files_may_stand_together(tmp_path):
    write(tmp_path, True)
    images, _ = names('train')
    other = np.zeros((20, 28, 28), np.uint8)
    (tmp_path / images).write_bytes(idx(other))
    # The unpacked file wins.
    found = content(FashionMNIST(str(tmp_path), 'train'))
    assert not found[3]['img'].any()


def test_a_package_stands_in_for_missing_files(tmp_path, monkeypatch):
    package = write(tmp_path / 'package', True)
    monkeypatch.setattr(fashion, 'PACKAGE_ROOT', str(package))
    found = content(FashionMNIST(str(tmp_path / 'empty'), 'train'))
    assert np.array_equal(found[0]['img'], toy('train')[0][0])
    # Files of the user come first.
    root = write(tmp_path / 'data', True)
    images, _ = names('train')
    black = idx(np.zeros((20, 28, 28), np.uint8))
    (root / f'{images}.gz').write_bytes(gzip.compress(black))
    assert not content(FashionMNIST(str(root), 'train'))[0]['img'].any()
