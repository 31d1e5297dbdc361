"""Folders of images and masks: what is read, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from eavit_mm.datasets import MaskFolder, image_folder, mask_folder
from eavit_mm.engine import image_folder as engine_folder
from eavit_mm.engine.data_overlap import check_disjoint
from eavit_mm.engine.image_folder import use_image_folder

from .masks import image, mask, put, write

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'eavit_seg'
SIZE = (8, 12)
MASKS = 'annotations/train'


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture
def said(monkeypatch):
    """What is logged of the files that are left out."""
    texts: list[str] = []
    monkeypatch.setattr(
        image_folder, 'print_log', lambda text, **_: texts.append(text)
    )
    return texts


def names_of(root: Path) -> list[str]:
    return MaskFolder(str(root)).metainfo['classes']


def parts_of(root: Path) -> dict[str, list[tuple[str, str]]]:
    """Names of images and masks in each part."""
    found = {}
    for part in ('train', 'search', 'test'):
        data = MaskFolder(str(root), part=part)
        infos = [data.get_data_info(i) for i in range(len(data))]
        found[part] = [
            (Path(i['img_path']).name, Path(i['seg_map_path']).name)
            for i in infos
        ]
    return found


@pytest.mark.parametrize(
    ('name', 'side'),
    [
        ('vitmini_digits_seg_stage2.py', 12),
        ('vitb_upernet_ade20k-512x512_stage2.py', 512),
    ],
)
def test_a_folder_becomes_three_parts(tmp_path, name, side):
    write(tmp_path, SIZE, train=20, val=3)
    cfg = Config.fromfile(CONFIGS / name)
    use_image_folder(cfg, tmp_path)
    parts, is_gray = {}, 'digits' in name
    for key, number in dict(train=18, val=2, test=3).items():
        dataset = cfg[f'{key}_dataloader'].dataset
        parts[key] = data = DATASETS.build(dataset)
        assert len(data) == number
        assert data.metainfo['classes'] == ['0', '1', '2']
        inputs, sample = data[0]['inputs'], data[0]['data_samples']
        assert len(inputs) == (1 if is_gray else 3)
        if key == 'train':
            # Drawn sizes may lie below that of the crop.
            assert max(inputs.shape[1:]) <= side
        else:
            labels = sample.gt_sem_seg.data.unique().tolist()
            assert labels == [0, 1, 2]  # zero is reduced nowhere
            assert cfg[f'{key}_dataloader'].batch_size == 1
    check_disjoint(parts)
    heads = [cfg.model.decode_head, cfg.model.get('auxiliary_head')]
    assert {head.num_classes for head in filter(None, heads)} == {3}


def test_weights_of_other_classes_are_left_out(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(
        engine_folder, 'print_log', lambda text, *_: said.append(text)
    )
    write(tmp_path, SIZE, train=3, val=1)
    cfg = Config.fromfile(CONFIGS / 'vitb_upernet_ade20k-512x512.py')
    own, other = (dict(class_weight=[1.0] * n) for n in (3, 150))
    cfg.model.decode_head.loss_decode = [own, dict(other, loss_weight=2.0)]
    cfg.model.auxiliary_head.loss_decode = dict(class_weight='weights.npy')
    use_image_folder(cfg, tmp_path)
    losses = cfg.model.decode_head.loss_decode
    assert losses == [own, dict(loss_weight=2.0)]
    assert cfg.model.auxiliary_head.loss_decode == {}
    assert [text.partition(' of the ')[2] for text in said[:2]] == [
        'decode_head is left out: there are 3 classes',
        'auxiliary_head is left out: there are 3 classes',
    ]


def test_what_goes_together(tmp_path, said):
    """Deeper folders, other endings, a constant end, EXIF's orientation."""
    root = write(tmp_path, SIZE, train=6, validation=2, extra=1)
    masks = root / MASKS
    for path in sorted(masks.iterdir()):
        path.rename(path.with_stem(f'{path.stem}_mask'))
    put(root / 'images/train/city/x.1.webp', image(SIZE, 77))
    put(masks / 'city/x.1_mask.png', mask(SIZE))
    photograph(root / 'images/train/5.jpg', (12, 8), orientation=6)
    photograph(root / 'images/train/4.tif', (12, 8), orientation=6)
    photograph(root / 'images/train/3.jpg', SIZE, orientation=9)  # no turn
    (root / 'images/train/4.jpg').unlink()
    (root / 'images/train/Thumbs.db').write_bytes(b'no image')
    shutil.copy(root / 'images/train/0.jpg', root / 'images/train/copy.jpg')
    shutil.copy(masks / '0_mask.png', masks / 'copy_mask.png')
    parts = parts_of(root)
    assert len(parts['search']) == 1
    trained = sorted(parts['train'] + parts['search'])
    assert trained[-1] == ('x.1.webp', 'x.1_mask.png')
    expected = [(f'{i}.jpg', f'{i}_mask.png') for i in range(6)]
    expected[4] = ('4.tif', '4_mask.png')
    assert trained[:-1] == expected
    assert parts['test'] == [('0.jpg', '0.png'), ('1.jpg', '1.png')]
    assert [text.partition('files left out, ')[2] for text in said] == [
        'in neither train nor test: 2, annotations/extra, images/extra',
        'no image that can be read: 1, Thumbs.db',
        'copies of other images: 1, copy.jpg',
    ]


def test_the_test_is_before_the_validation(tmp_path):
    root = write(tmp_path, SIZE, Training=4, val=1, test=2)
    assert len(MaskFolder(str(root), part='test')) == 2


@pytest.mark.parametrize(
    ('labels', 'text', 'names'),
    [
        ((0, 1, 255), None, '0 1'),
        ((0, 1, 7), 'sky\nsea\n' + 'x\n'.join('abcdef') + '\n\n', None),
        ((1, 2, 3), '\ufeffnone\r\none\r\ntwo\r\nthree', 'none one two three'),
    ],
)
def test_names_of_classes(tmp_path, labels, text, names):
    root = write(tmp_path, SIZE, train=3, val=1)
    for path in root.glob('annotations/*/*'):
        put(path, mask(SIZE, labels))
    if text:
        (root / 'classes.txt').write_bytes(text.encode())
    assert names_of(root) == (names or 'sky sea ax bx cx dx ex f').split()


def in_colours(path: Path, *colours: Any) -> None:
    pixels = Image.fromarray(mask(SIZE, range(len(colours))))
    pixels.putpalette(bytes(np.ravel(colours).tolist()))
    pixels.save(path)


def test_palettes_and_sixteen_bits(tmp_path):
    root = write(tmp_path, SIZE, train=2, val=1)
    for path in root.glob('annotations/*/*'):
        in_colours(path, (9, 9, 9), (200, 0, 0), (0, 0, 255))
    assert names_of(root) == ['0', '1', '2']
    for path in root.glob('annotations/*/*'):
        cv2.imwrite(str(path), mask(SIZE).astype(np.uint16))
    assert names_of(root) == ['0', '1', '2']


def photograph(path: Path, size: tuple[int, int], orientation: int) -> None:
    """One of a camera that was held otherwise."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image(size)).save(path, exif=exif)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


WRONG = dict(
    an_image_alone=(
        lambda root: (root / MASKS / '2.png').unlink(),
        r'images/train: 1 of 4 files have no .* the masks, such as \S+/2.jpg',
    ),
    masks_alone=(
        lambda root: [(root / f'images/val/{i}.jpg').unlink() for i in (0, 1)],
        'annotations/val: 2 of 2 files have no .* the images, such as',
    ),
    two_masks_each=(
        lambda root: [
            shutil.copy(path, path.with_stem(f'{path.stem}_ids'))
            for path in [*(root / MASKS).iterdir()]
        ],
        'annotations/train: 4 of 8 files',
    ),
    two_images_of_a_name=(
        lambda root: put(root / 'images/train/2.png', image(SIZE)),
        'train/2.jpg and .*train/2.png have the same name',
    ),
    zero_and_255=(
        lambda root: [
            put(path, mask(SIZE, (0, 255)))
            for path in root.glob('annotations/*/*')
        ],
        r'labels \[0\], beside 255, which is ignored; must be at least two',
    ),
    gaps=(
        lambda root: put(root / MASKS / '2.png', mask(SIZE, (0, 7))),
        r'labels \[0, 1, 2, 7\], .* 2 and so on without a gap, or else class',
    ),
    more_in_the_test=(
        lambda root: put(root / 'annotations/val/1.png', mask(SIZE, (3,))),
        'val/1.png: label 3; must be below 3, the number of classes, or 255',
    ),
    more_than_named=(
        lambda root: (root / 'classes.txt').write_text('a\nb'),
        'png: label 2; must be below 2',
    ),
    a_class_twice=(
        lambda root: (root / 'classes.txt').write_text('a\nb\na'),
        'classes.txt: must be UTF-8 and name each class once',
    ),
    other_letters=(
        lambda root: (root / 'classes.txt').write_text('a\nb\nc', 'utf-16'),
        'classes.txt: must be UTF-8',
    ),
    coloured=(
        lambda root: put(root / MASKS / '2.png', image(SIZE)),
        'train/2.png: is PNG, RGB; must be PNG with one channel',
    ),
    lossy=(
        lambda root: Image.fromarray(mask(SIZE)).save(
            root / MASKS / '2.png', 'JPEG'
        ),
        'train/2.png: is JPEG, L; must be PNG',
    ),
    another_palette=(
        lambda root: in_colours(root / MASKS / '2.png', (0, 0, 0), (1, 1, 1)),
        r'its palette has \[0, 0, 0\] for label 0, that of .*/0.png None; mus',
    ),
    beyond_a_byte=(
        lambda root: put(root / MASKS / '2.png', mask(SIZE, (0, 256))),
        'train/2.png: label 256; must be at most 255',
    ),
    another_size=(
        lambda root: put(root / MASKS / '2.png', mask((12, 8))),
        r'2.png: has \(height, width\) = \(12, 8\), its image \(8, 12\)',
    ),
    a_broken_mask=(
        lambda root: cut(root / MASKS / '2.png'),
        'images/train: 1 of 4 files have no readable .* masks, .*/2.jpg',
    ),
    a_broken_image=(
        lambda root: cut(root / 'images/train/2.jpg'),
        'annotations/train: 1 of 4 files .* the images, such as .*/2.png',
    ),
    an_image_upside_down=(
        lambda root: photograph(root / 'images/train/2.jpg', SIZE, 3),
        r'train/2.jpg: EXIF turns it \(orientation 3\), and its mask may be',
    ),
    a_mask_of_what_is_not_seen=(
        lambda root: photograph(root / 'images/train/2.jpg', SIZE, 8),
        r'train/2.jpg: EXIF turns it \(orientation 8\)',
    ),
    a_mask_of_a_tiff_that_is_not_seen=(
        lambda root: photograph(
            (root / 'images/train/2.jpg').rename(root / 'images/train/2.tif'),
            SIZE,
            6,
        ),
        r'train/2.tif: EXIF turns it \(orientation 6\)',
    ),
    an_empty_part=(
        lambda root: [p.unlink() for p in root.glob('*/val/*')],
        'images/val: 0 images; must be at least 2 to train on',
    ),
    one_image_in_both=(
        lambda root: shutil.copy(
            root / 'images/train/3.jpg', root / 'images/val/1.jpg'
        ),
        'train and test share 1 images, such as',
    ),
    parts_first=(
        lambda root: [
            shutil.move(root / kind / part, root / part / kind)
            for kind in ('images', 'annotations')
            for part in ('train', 'val')
        ],
        r"holds the folders \['annotations', 'images', 'train', 'train/ann",
    ),
    names_of_voc=(
        lambda root: [
            (root / 'images').rename(root / 'JPEGImages'),
            (root / 'annotations').rename(root / 'SegmentationClass'),
        ],
        r"holds the folders \['JPEGImages', .* must hold images/train and",
    ),
    no_test=(
        lambda root: (root / 'annotations/val').rename(root / MASKS / 'more'),
        r"holds the folders \['annotations', 'annotations/train', 'images',",
    ),
)


@pytest.mark.parametrize('name', WRONG)
def test_what_is_refused(name, tmp_path):
    change, words = WRONG[name]
    root = write(tmp_path / 'data', SIZE, train=4, val=2)
    (root / 'train').mkdir()
    change(root)
    cfg = Config.fromfile(CONFIGS / 'vitmini_digits_seg.py')
    with pytest.raises(ValueError, match=f'^--data: .*{words}') as error:
        use_image_folder(cfg, root)
    assert '\n' not in str(error.value)


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such folder; must hold'):
        MaskFolder(str(tmp_path / 'no'))


def test_masks_are_read_once(tmp_path, monkeypatch):
    write(tmp_path, SIZE, train=4, val=2)
    cfg = Config.fromfile(CONFIGS / 'vitmini_digits_seg.py')
    use_image_folder(cfg, tmp_path)
    monkeypatch.setattr(mask_folder, '_labels_of', None)
    data = DATASETS.build(cfg.test_dataloader.dataset)
    assert data.metainfo['classes'] == ['0', '1', '2']
