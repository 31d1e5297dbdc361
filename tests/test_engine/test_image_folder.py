"""Folders of images: what is read, what is left out, what is refused."""

import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

from eavit_mm.datasets import ImageFolder, image_folder
from eavit_mm.engine.data_overlap import check_disjoint
from eavit_mm.engine.image_folder import use_image_folder

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'eavit'
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture
def said(monkeypatch):
    """What is logged of the files that are left out."""
    texts: list[str] = []
    monkeypatch.setattr(
        image_folder, 'print_log', lambda text, **_: texts.append(text)
    )
    return texts


def put(folder: Path, number: int, ending: str = '.png') -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(number):
        image = RNG.integers(256, size=(9, 12, 3), dtype=np.uint8)
        done, content = cv2.imencode(ending or '.png', image)
        assert done
        (folder / f'{i}{ending}').write_bytes(content.tobytes())


def build(folder: Path, content: str) -> Path:
    """Images of 'a=3 b/c=2': three in a, two in b/c."""
    folder.mkdir(exist_ok=True)
    for place, number in (item.split('=') for item in content.split()):
        put(folder / place, int(number))
    return folder


def parts_of(folder: Path) -> dict[str, Any]:
    """The parts that a folder is cut into."""
    loaders = {
        f'{name}_dataloader': dict(dataset=dict(pipeline=[]))
        for name in ('train', 'val', 'test')
    }
    model = dict(head=dict(num_classes=10), backbone=dict(in_channels=1))
    cfg = Config(dict(loaders, model=model, tta_pipeline=[dict(type='Flip')]))
    use_image_folder(cfg, folder)
    assert 'tta_pipeline' not in cfg  # of other images
    found = {
        name: DATASETS.build(cfg[f'{name}_dataloader'].dataset)
        for name in ('train', 'val', 'test')
    }
    classes = found['train'].metainfo['classes']
    assert cfg.model.head.num_classes == len(classes)
    assert all(data.metainfo['classes'] == classes for data in found.values())
    return found


def counts_of(folder: Path) -> dict[str, list[int]]:
    return {
        name: np.bincount(data.get_gt_labels()).tolist()
        for name, data in parts_of(folder).items()
    }


def total_of(folder: Path) -> list[int]:
    return np.sum([*counts_of(folder).values()], axis=0).tolist()


@pytest.mark.parametrize(
    ('content', 'name', 'sizes'),
    [
        ('train/{}=20 test/{}=1', 'vitmini_digits_stage2.py', (54, 6, 3)),
        ('train/{}=20 val/{}=1', 'vitb_flowers.py', (54, 6, 3)),
        ('{}=20', 'vitmini_digits_stage2.py', (43, 5, 12)),
    ],
)
def test_a_folder_becomes_three_parts(tmp_path, content, name, sizes):
    for label in 'abc':
        build(tmp_path, content.replace('{}', label))
    cfg = Config.fromfile(CONFIGS / name)
    use_image_folder(cfg, tmp_path)
    parts = {}
    for key, number in zip(('train', 'val', 'test'), sizes, strict=True):
        dataset = cfg[f'{key}_dataloader'].dataset
        # Where mmpretrain's tools look for it.
        assert dataset['pipeline'][0].type == 'LoadImageFromFile'
        parts[key] = data = DATASETS.build(dataset)
        assert len(data) == number
        channels = cfg.model.backbone.get('in_channels', 3)
        size = 28 if 'digits' in name else 224
        assert data[0]['inputs'].shape == (channels, size, size)
    check_disjoint(parts)
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 3


def test_every_class_is_in_every_part(tmp_path):
    counts = counts_of(build(tmp_path, 'a=80 b=80 c=10 d=3'))
    assert counts['test'][2:] == [2, 1]
    assert counts['val'][3] == counts['train'][3] == 1
    assert min(map(min, counts.values())) == 1
    assert np.sum([*counts.values()], axis=0).tolist() == [80, 80, 10, 3]


SPLIT = dict(train=[5, 5], val=[1, 1], test=[2, 2])


@pytest.mark.parametrize(
    ('trained', 'tested'),
    [
        ('Training', 'Testing'),
        ('TRAIN', 'Valid'),
        ('training', 'validation'),
        ('data/archive/train', 'data/archive/test'),
        ('train/train', 'test/test'),
    ],
)
def test_how_parts_are_called(tmp_path, trained, tested):
    build(tmp_path, f'{trained}/a=6 {trained}/b=6 {tested}/a=2 {tested}/b=2')
    assert counts_of(tmp_path) == SPLIT


def test_a_test_need_not_have_every_class(tmp_path):
    build(tmp_path, 'train/a=5 train/b=6 train/c=7 train/d=8')
    build(tmp_path, 'test/b=2 test/d=1')
    assert counts_of(tmp_path)['test'] == [0, 2, 0, 1]
    shutil.rmtree(tmp_path / 'test' / 'd')
    assert counts_of(tmp_path)['test'] == [0, 2]


def test_a_third_part_is_named(tmp_path, said):
    for label in 'ab':
        build(tmp_path, f'train/{label}=6 test/{label}=2 valid/{label}=2')
    assert counts_of(tmp_path) == SPLIT
    assert said[0].endswith("left out, neither train nor test: ['valid']")


def test_classes_of_named_parts_may_hold_the_same_folders(tmp_path):
    for label in 'ab':
        build(tmp_path, f'train/{label}/2020=3 train/{label}/2021=3')
        build(tmp_path, f'test/{label}/2020=1 test/{label}/2021=1')
    assert counts_of(tmp_path) == SPLIT


@pytest.mark.parametrize('folder', ['test/b', 'test/b/2020', 'test/b/a'])
def test_a_test_of_one_class(folder, tmp_path):
    build(tmp_path, f'train/a=6 train/b=6 {folder}=4')
    test = parts_of(tmp_path)['test']
    assert [test[i]['gt_label'] for i in range(len(test))] == [1] * 4


def test_a_name_that_is_no_text_is_left_out(tmp_path, said):
    build(tmp_path, 'a=6 b=6')
    put(tmp_path / 'a', 1, '.tiff')
    odd = tmp_path / 'a' / os.fsdecode(b'\xe4.tiff')
    (tmp_path / 'a' / '0.tiff').rename(odd)
    assert total_of(tmp_path) == [6, 6]
    (text,) = said
    assert 'no image that can be read: 1, a/' in text
    assert text.encode()


def test_an_unpacked_archive(tmp_path, said):
    # Names of parts are here those of classes.
    build(tmp_path, 'x/dataset/train=6 x/dataset/test=6')
    (tmp_path / 'x' / 'README.txt').touch()
    assert total_of(tmp_path) == [6, 6]
    (text,) = said
    assert text.endswith('no image that can be read: 1, x/README.txt')


def test_what_is_no_class(tmp_path):
    build(tmp_path, 'a=6 b=6 __MACOSX=2 .ipynb_checkpoints=2 a/@eaDir=2')
    (tmp_path / 'Empty').mkdir()
    (tmp_path / 'a' / 'up').symlink_to('..')
    found = parts_of(tmp_path)
    assert found['train'].metainfo['classes'] == ('a', 'b')
    assert sum(map(len, found.values())) == 12


def test_what_the_reader_reads(tmp_path, said):
    build(tmp_path, 'a=6')
    for ending in ('.webp', '.tiff', '.JPG', '.bmp', '.gif', ''):
        put(tmp_path / 'b', 1, ending)
    (tmp_path / 'b' / '0.JPG').rename(tmp_path / 'b' / '0.jfif')
    whole = (tmp_path / 'b' / '0.jfif').read_bytes()
    cut = (tmp_path / 'a' / '0.png').read_bytes()[:-30]
    broken = {
        'empty.jpg': b'',
        'cut.jpg': whole[:-30],
        'cut.png': cut,
        'page.png': b'<html>',
        'c.heic': b'\0\0\0\x18ftypheic',
    }
    for name, content in broken.items():
        (tmp_path / 'b' / name).write_bytes(content)
    os.mkfifo(tmp_path / 'b' / 'pipe.png')
    (tmp_path / 'b' / 'lost.png').symlink_to('nowhere')
    assert total_of(tmp_path) == [6, 6]
    (text,) = said
    assert text.endswith('be read: 7, b/c.heic, b/cut.jpg, b/cut.png, ...')


def test_copies_are_not_in_two_parts(tmp_path, said):
    build(tmp_path, 'a=6 b=6')
    for copy in ('0.png', 'a/copy.png', 'b/copy.png'):
        shutil.copy(tmp_path / 'a' / '0.png', tmp_path / copy)
    assert total_of(tmp_path) == [6, 6]
    stray, copies = said  # the first has no class to be an image of
    assert stray.endswith('in no folder of a class: 1, 0.png')
    assert copies.endswith('of other images: 2, a/copy.png, b/copy.png')


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ('a=9 b=2 c=1', r'too few images in 2 of 3 .*\(b: 2, c: 1\); must be'),
        ('x/a=9', r"/x: images in the folders \['a'\]; must be in one for"),
        ('.=9', r'images in the folders \[\]; must be'),
        ('', 'no image that can be read; must hold train/CLASS'),
        ('train/a=5 train/b=5', r"in \['train'\]; .* give that folder"),
        ('train/test/a=5 train/test/b=5', r"\['train', 'test'\]; must be"),
        (
            'train/a=5 Training/a=5 test/a=5',
            r"in \['Training', 'test', 'train'\]; must be train/CLASS",
        ),
        ('train/a=5 train/b=5 test=5', r"classes in \['train'\]; must be"),
        (
            'train/a=5 train/b=5 test/a=5 test/c=5',
            r"the test has classes that train has not: \['c'\]",
        ),
        (
            'a/images=5 a/masks=5 b/images=5 b/masks=5',
            r"the same folders, \['images', 'masks'\]: which are the cl",
        ),
        (
            'train_1/x/a=5 train_1/x/b=5 test_1/x/a=5 test_1/x/b=5',
            r"the same folders, \['a', 'b'\]: .* name parts train and",
        ),
    ],
)
def test_what_is_refused(content, words, tmp_path):
    build(tmp_path / 'images', content)
    with pytest.raises(ValueError, match=f'^--data: .*{words}'):
        parts_of(tmp_path / 'images')


@pytest.mark.parametrize('number', [10, 1])
def test_train_and_test_share_no_image(number, tmp_path):
    build(tmp_path, 'train/a=5 train/b=5')
    if number == 10:
        (tmp_path / 'test').symlink_to('train')
    else:
        build(tmp_path, 'test/a=2 test/b=2')
        copy = tmp_path / 'test' / 'b' / 'copy.png'
        shutil.copy(tmp_path / 'train' / 'a' / '0.png', copy)
    words = rf'share {number} images, such as \S*/0.png and \S*.png; remove'
    with pytest.raises(ValueError, match=f'^--data: .*{words}'):
        parts_of(tmp_path)


def test_no_folder_and_no_classifier(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such folder; must hold'):
        ImageFolder(str(tmp_path / 'no'))
    with pytest.raises(ValueError, match='trains no classifier'):
        use_image_folder(Config(dict(model=dict(decode_head={}))), tmp_path)
