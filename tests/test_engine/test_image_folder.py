"""Folders of images: what is read, what is left out, what is refused."""

import gc
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

from eavit_mm.datasets import image_folder as files
from eavit_mm.engine import image_folder
from eavit_mm.engine.data_overlap import check_disjoint
from eavit_mm.engine.image_folder import use_image_folder

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'eavit'
RNG = np.random.default_rng(0)


@pytest.fixture(scope='module', autouse=True)
def _less_garbage():
    # Every data set of mmengine collects garbage when it is built.
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture
def said(monkeypatch):
    """What is logged of the files that are left out."""
    texts: list[str] = []
    for module in (files, image_folder):
        monkeypatch.setattr(
            module, 'print_log', lambda text, **_: texts.append(text)
        )
    return texts


def put(folder: Path, number: int, ending: str = '.png') -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(number):
        image = RNG.integers(256, size=(9, 12, 3), dtype=np.uint8)
        done, content = cv2.imencode(ending or '.png', image)
        assert done
        (folder / f'{i}{ending}').write_bytes(content.tobytes())


def build(folder: Path, **classes: int) -> Path:
    for name, number in classes.items():
        put(folder / name, number)
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


@pytest.mark.parametrize(
    ('layout', 'name'),
    [
        ('train and test', 'vitmini_digits_stage2.py'),
        ('train and val', 'vitb_flowers.py'),
        ('flat', 'vitmini_digits_stage2.py'),
    ],
)
def test_a_folder_becomes_three_parts(tmp_path, layout, name):
    if layout == 'flat':
        build(tmp_path, a=20, b=20, c=20)
        sizes = dict(train=43, val=5, test=12)
    else:
        build(tmp_path / 'train', a=20, b=20, c=20)
        build(tmp_path / layout.split()[-1], a=1, b=1, c=1)
        sizes = dict(train=54, val=6, test=3)
    cfg = Config.fromfile(CONFIGS / name)
    use_image_folder(cfg, tmp_path)
    configs = {key: cfg[f'{key}_dataloader'].dataset for key in sizes}
    check_disjoint(configs)
    channels = cfg.model.backbone.get('in_channels', 3)
    size = 28 if 'digits' in name else 224
    for key, data in {
        k: DATASETS.build(v) for k, v in configs.items()
    }.items():
        assert len(data) == sizes[key]
        assert data[0]['inputs'].shape == (channels, size, size)
        # Where mmpretrain's tools look for it.
        assert configs[key]['pipeline'][0].type == 'LoadImageFromFile'
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 3


def test_every_class_is_in_every_part(tmp_path):
    counts = counts_of(build(tmp_path, a=80, b=80, c=10, d=3))
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
    build(tmp_path / trained, a=6, b=6)
    build(tmp_path / tested, a=2, b=2)
    assert counts_of(tmp_path) == SPLIT


def test_a_third_part_is_named(tmp_path, said):
    for name, number in dict(train=6, test=2, valid=2).items():
        build(tmp_path / name, a=number, b=number)
    assert counts_of(tmp_path) == SPLIT
    assert said[0].endswith("left out, neither train nor test: ['valid']")


def test_classes_of_named_parts_may_hold_the_same_folders(tmp_path):
    for part, number in dict(train=3, test=1).items():
        for name in ('a', 'b'):
            build(tmp_path / part / name, y2020=number, y2021=number)
    assert counts_of(tmp_path) == SPLIT


def test_a_name_that_is_no_text_is_left_out(tmp_path, said):
    build(tmp_path, a=6, b=6)
    put(tmp_path / 'a', 1, '.tiff')
    odd = tmp_path / 'a' / os.fsdecode(b'\xe4.tiff')
    (tmp_path / 'a' / '0.tiff').rename(odd)
    assert np.sum([*counts_of(tmp_path).values()], axis=0).tolist() == [6, 6]
    (text,) = said
    assert 'no image that can be read: 1, a/' in text
    assert text.encode()


def test_an_unpacked_archive(tmp_path, said):
    build(tmp_path / 'x' / 'dataset', train=6, test=6)  # names of classes
    (tmp_path / 'x' / 'README.txt').touch()
    counts = counts_of(tmp_path)
    assert np.sum([*counts.values()], axis=0).tolist() == [6, 6]
    (text,) = said
    assert text.endswith('no image that can be read: 1, x/README.txt')


def test_what_is_no_class(tmp_path):
    build(tmp_path, a=6, b=6, __MACOSX=2)
    put(tmp_path / '.ipynb_checkpoints', 2)
    put(tmp_path / 'a' / '@eaDir', 2)
    (tmp_path / 'Empty').mkdir()
    (tmp_path / 'a' / 'up').symlink_to('..')
    found = parts_of(tmp_path)
    assert found['train'].metainfo['classes'] == ('a', 'b')
    assert sum(map(len, found.values())) == 12


def test_what_the_reader_reads(tmp_path, said):
    build(tmp_path, a=6)
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
    assert np.sum([*counts_of(tmp_path).values()], axis=0).tolist() == [6, 6]
    (text,) = said
    assert text.endswith('be read: 7, b/c.heic, b/cut.jpg, b/cut.png, ...')


def test_copies_are_not_in_two_parts(tmp_path, said):
    build(tmp_path, a=6, b=6)
    for copy in ('a/copy.png', 'b/copy.png'):
        shutil.copy(tmp_path / 'a' / '0.png', tmp_path / copy)
    assert np.sum([*counts_of(tmp_path).values()], axis=0).tolist() == [6, 6]
    (text,) = said
    assert text.endswith('copies of other images: 2, a/copy.png, b/copy.png')


def few(folder: Path) -> None:
    build(folder, a=9, b=2, c=1)


def one(folder: Path) -> None:
    build(folder / 'dataset', a=9)


def flat(folder: Path) -> None:
    put(folder, 9)


def halves(folder: Path) -> None:
    build(folder / 'train', a=5, b=5)


def nested(folder: Path) -> None:
    build(folder / 'train' / 'test', a=5, b=5)


def twice(folder: Path) -> None:
    for name in ('train', 'Training', 'test'):
        build(folder / name, a=5, b=5)


def unlabelled(folder: Path) -> None:
    build(folder / 'train', a=5, b=5)
    put(folder / 'test', 5)


def other(folder: Path) -> None:
    build(folder / 'train', a=5, b=5)
    build(folder / 'test', a=5, c=5)


def masks(folder: Path) -> None:
    for name in ('a', 'b'):
        build(folder / name, images=5, masks=5)


def unknown(folder: Path) -> None:
    for name in ('seg_train/seg_train', 'seg_test/seg_test'):
        build(folder / name, a=5, b=5)


def linked(folder: Path) -> None:
    build(folder / 'train', a=5, b=5)
    (folder / 'test').symlink_to('train')


def copied(folder: Path) -> None:
    build(folder / 'train', a=5, b=5)
    build(folder / 'test', a=2, b=2)
    shutil.copy(folder / 'train/a/0.png', folder / 'test/b/copy.png')


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (few, r'too few images in 2 of 3 classes \(b: 2, c: 1\); must be at '),
        (one, r"/dataset: images in the folders \['a'\]; must be in one for"),
        (flat, r'images in the folders \[\]; must be'),
        (Path.mkdir, 'no image that can be read; must hold train/CLASS'),
        (
            halves,
            r"has folders of classes in \['train'\]; .* give that folder",
        ),
        (nested, r"has folders of classes in \['train', 'test'\]; must be"),
        (twice, r"in \['Training', 'test', 'train'\]; must be train/CLASS"),
        (unlabelled, r"has folders of classes in \['train'\]; must be"),
        (other, r"train and test have other classes: \['b', 'c'\]"),
        (masks, r"the same folders, \['images', 'masks'\]: which are the cl"),
        (unknown, r"the same folders, \['a', 'b'\]: .* name parts train and"),
        (linked, r'train and test share 10 images, such as .*; remove them'),
        (copied, r'share 1 images, such as \S*/0.png and \S*/copy.png; rem'),
    ],
)
def test_what_is_refused(make, words, tmp_path):
    make(tmp_path / 'images')
    with pytest.raises(ValueError, match=f'^--data .*{words}'):
        parts_of(tmp_path / 'images')


def test_no_folder_and_no_classifier(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such folder; must hold'):
        use_image_folder(Config(), tmp_path / 'no')
    with pytest.raises(ValueError, match='trains no classifier'):
        use_image_folder(Config(dict(model=dict(decode_head={}))), tmp_path)
