"""Files of published data sets that are missing, broken or of another kind."""

import numpy as np
import pytest
from mmengine.config import Config
from mmpretrain.datasets import cifar
from mmpretrain.registry import DATASETS
from scipy.io import savemat
from tool_runs import ROOT

from eavit_mm.datasets.published import SETS, how_to_get
from eavit_mm.engine.cli import run_tool

from . import published


def build(kind, **options):
    return DATASETS.build(dict(type=f'eavit_mm.{kind}', **options))


def refuses(words, kind, error=ValueError, **options):
    with pytest.raises(error, match=words) as found:
        build(kind, **options)
    assert '\n' not in str(found.value)


def test_svhn(tmp_path):
    root, file = tmp_path / 'svhn', tmp_path / 'svhn' / 'train_32x32.mat'
    refuses(
        f'{file} is missing. Get it from ufldl',
        *('SVHN', FileNotFoundError),
        data_root=str(root),
    )
    published.svhn(root)
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b'', b'no such file' * 99):
        file.write_bytes(content)
        refuses('train_32x32.mat: .*is it whole', 'SVHN', data_root=str(root))
    found = dict(X=np.zeros((32, 32, 3, 4), np.uint8))
    savemat(file, dict(found, y=np.array([[1], [10], [11], [2]])))
    refuses('labels from 0 to 11; must be', 'SVHN', data_root=str(root))
    savemat(file, found)
    refuses(r'mat: .*y.*is it whole', 'SVHN', data_root=str(root))
    refuses("split='val'; must be one of", 'SVHN', data_root='', split='val')


@pytest.mark.parametrize('kind', ['CIFAR10', 'CIFAR100'])
def test_cifar_is_not_fetched(kind, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        cifar, 'download_and_extract_archive', lambda *a, **k: asked.append(a)
    )
    words = f'{tmp_path}/cifar-10.* is missing, or not whole'
    refuses(words, kind, FileNotFoundError, data_root=str(tmp_path))
    assert not asked


def test_how_to_get_what_a_message_names(tmp_path):
    for name, parts in SETS.items():
        way = f'python -m eavit_mm prepare_data {name}'
        for part in parts:
            assert how_to_get(f"no '/x/data/{part.place}/1.jpg'") == way
    for text, name in (
        ('in data/Flowers102: jpg', 'flowers'),
        ('data/isic2018/x.csv', 'isic2018'),
        ('data/cifar100', 'cifar100'),
    ):
        assert how_to_get(text).endswith(f' {name}')
    for other in ('data/dtd10/x', 'mydata/dtd', 'dtd/1.jpg', 'x.pth'):
        assert how_to_get(other) == ''
    missing = tmp_path / 'data/food-101/meta/train.txt'
    words = '^error: .*; to get it: python -m eavit_mm prepare_data food101$'
    with pytest.raises(SystemExit, match=words):
        run_tool(missing.read_text)


def test_how_to_get_folders_that_are_not_published():
    """CIFAR-100 is both, in one place: no command makes its folders."""
    for base in ('small_cls', 'small_seg'):
        for path in (ROOT / 'configs/_base_/datasets').glob('*.py'):
            if f'./{base}.py' not in path.read_text():
                continue
            cfg = Config.fromfile(path)
            data = cfg.train_dataloader.dataset
            data = data.get('dataset', data)
            root, prefix = data.data_root, data.data_prefix
            if base == 'small_seg':
                prefix = prefix['img_path']
            said = how_to_get(f"'{root}/{prefix}'")
            assert said.startswith(
                f'put images of your own at {data.data_root}'
            )
            assert 'test}/' in said
            assert 'eavit_mm prepare_data' not in said
    assert how_to_get("'data/cifar100/cifar-100-python' is missing").endswith(
        'prepare_data cifar100'
    )


LABELS = np.zeros((4, 1), np.uint8)
IMAGES = np.zeros((4, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ('images', 'labels', 'words'),
    [
        (IMAGES[:3], LABELS, r'uint8 \(3, 28, 28, 3\), labels uint8 \(4, 1\)'),
        (IMAGES, np.repeat(LABELS, 14, 1), r'uint8 \(4, 14\); must be'),
        (IMAGES / 255, LABELS, 'images float64'),
        (np.zeros((4, 9, 9, 9), np.uint8), LABELS, r'images uint8 \(4, 9, 9'),
        (IMAGES[:0], LABELS[:0], r'images uint8 \(0, 28'),
        (IMAGES, LABELS.astype(object), 'allow_pickle=False'),
        (None, LABELS, 'train_images'),
    ],
)
def test_medmnist(images, labels, words, tmp_path):
    arrays = dict(train_images=images, train_labels=labels)
    arrays = {k: v for k, v in arrays.items() if v is not None}
    file = tmp_path / 'some.npz'
    np.savez(file, **arrays)
    refuses(f'some.npz: .*{words}', 'MedMNIST', ann_file=str(file))


def test_medmnist_in_gray(tmp_path):
    file = tmp_path / 'some.npz'
    images = np.arange(4 * 28 * 28).reshape(4, 28, 28).astype(np.uint8)
    np.savez(file, test_images=images, test_labels=LABELS)
    data = build('MedMNIST', ann_file=str(file), split='test')
    assert data.test_mode
    for i, image in enumerate(images):
        found = data.get_data_info(i)
        assert np.array_equal(found['img'], np.dstack([image] * 3))
        assert found['sample_id'] == f'test/{i:05d}'
    file.write_bytes(file.read_bytes()[:-100])
    words = 'some.npz: .*is it whole'
    refuses(words, 'MedMNIST', ann_file=str(file), split='test')


@pytest.mark.parametrize(
    'row',
    ['ISIC_1,0,0,0,0,nan,0,0', 'I,1,1,0,0,0,0,0', 'ISIC_1,1', 'x,?'],
)
def test_isic(row, tmp_path):
    published.isic(tmp_path)
    stem = 'ISIC2018_Task3_Training_GroundTruth'
    table = tmp_path / stem / f'{stem}.csv'
    # As Excel writes it.
    table.write_text(f'\ufeff{table.read_text()}{row}\n', encoding='utf-8')
    refuses(
        f'{table}, line 14: no image of one', 'ISIC', data_root=str(tmp_path)
    )
