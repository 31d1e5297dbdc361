"""Writes tiny data sets in the formats in which they are published.

Of class k the brightest colour is the k-th of red, green and blue, in turn.
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from mmpretrain.datasets import DTD, FGVCAircraft, Food101, cifar
from PIL import Image
from scipy.io import savemat

NUMBER = 12  # images of each part
LABELS = np.arange(NUMBER) % 3


def pixels(size: tuple[int, int], seed: int) -> np.ndarray:
    """(NUMBER, height, width, 3), red first."""
    rng = np.random.default_rng(seed)
    images = rng.integers(60, size=(NUMBER, *size, 3), dtype=np.uint8)
    images[np.arange(NUMBER), ..., LABELS] += 150
    return images


def photos(paths: list[Path], seed: int) -> None:
    for path, image in zip(paths, pixels((30, 40), seed), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, quality=95)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(lines) + '\n')


def cifars(root: Path) -> None:
    five = [f'data_batch_{i}' for i in range(1, 6)]
    for folder, key, files in (
        ('cifar10/cifar-10-batches-py', 'labels', [*five, 'test_batch']),
        ('cifar100/cifar-100-python', 'fine_labels', ['train', 'test']),
    ):
        (root / folder).mkdir(parents=True)
        for seed, name in enumerate(files):
            rows = pixels((32, 32), seed).transpose(0, 3, 1, 2)
            found = {'data': rows.reshape(NUMBER, -1), key: LABELS.tolist()}
            (root / folder / name).write_bytes(pickle.dumps(found))


@contextmanager
def other_sums() -> Iterator[None]:
    """Of files that are not the published ones."""
    with patch.object(cifar, 'check_md5', lambda path, md5: True):
        yield


def svhn(root: Path) -> None:
    root.mkdir()
    for seed, split in enumerate(('train', 'test')):
        images = pixels((32, 32), seed).transpose(1, 2, 3, 0)
        labels = np.where(LABELS == 0, 10, LABELS).astype(np.uint8)
        path = root / f'{split}_32x32.mat'
        savemat(path, dict(X=images, y=labels[:, None]), do_compression=True)


def food(root: Path) -> None:
    for seed, split in enumerate(('train', 'test')):
        names = [
            f'{Food101.METAINFO["classes"][k]}/{100 * seed + i}'
            for i, k in enumerate(LABELS)
        ]
        text(root / 'meta' / f'{split}.txt', *names)
        photos([root / 'images' / f'{name}.jpg' for name in names], seed)


def aircraft(root: Path) -> None:
    variants = FGVCAircraft.METAINFO['classes']
    for seed, split in enumerate(('trainval', 'test')):
        names = [f'{10**6 * (seed + 1) + i}' for i in range(NUMBER)]
        lines = [
            f'{name} {variants[k]}'
            for name, k in zip(names, LABELS, strict=True)
        ]
        text(root / 'data' / f'images_variant_{split}.txt', *lines)
        photos([root / f'data/images/{name}.jpg' for name in names], seed)


def cars(root: Path) -> None:
    kinds = [('relative_im_path', object), ('class', object), ('test', object)]
    rows = []
    for seed in range(2):
        names = [f'car_ims/{seed}{i:05d}.jpg' for i in range(NUMBER)]
        photos([root / name for name in names], seed)
        rows += [
            (name, np.uint8(k + 1), np.uint8(seed))
            for name, k in zip(names, LABELS, strict=True)
        ]
    table = np.array([rows], dtype=kinds)
    savemat(root / 'cars_annos.mat', dict(annotations=table))


def dtd(root: Path) -> None:
    names = []
    for seed in range(3):
        part = [
            f'{DTD.METAINFO["classes"][k]}/{seed}_{i:04d}.jpg'
            for i, k in enumerate(LABELS)
        ]
        photos([root / 'images' / name for name in part], seed)
        names += part
    (root / 'imdb').mkdir()
    images = {
        'name': np.array([names], dtype=object),
        'set': np.repeat(np.uint8([1, 2, 3]), NUMBER)[None],
        'class': np.tile(np.uint8(LABELS + 1), 3)[None],
    }
    savemat(root / 'imdb' / 'imdb.mat', dict(images=images))


def pets(root: Path) -> None:
    for seed, split in enumerate(('trainval', 'test')):
        names = [f'Breed_{k}_{seed}{i}' for i, k in enumerate(LABELS)]
        lines = [
            f'{name} {k + 1} 1 1'
            for name, k in zip(names, LABELS, strict=True)
        ]
        text(root / 'annotations' / f'{split}.txt', *lines)
        photos([root / 'images' / f'{name}.jpg' for name in names], seed)


def medmnist(root: Path) -> None:
    root.mkdir()
    for name in ('pathmnist', 'dermamnist'):
        arrays = {}
        for seed, split in enumerate(('train', 'val', 'test')):
            arrays[f'{split}_images'] = pixels((28, 28), seed)
            arrays[f'{split}_labels'] = LABELS[:, None].astype(np.uint8)
        np.savez_compressed(root / f'{name}.npz', **arrays)


def isic(root: Path) -> None:
    for seed, split in enumerate(('Training', 'Test')):
        stem = f'ISIC2018_Task3_{split}'
        names = [f'ISIC_{seed}{i:06d}' for i in range(NUMBER)]
        photos([root / f'{stem}_Input' / f'{n}.jpg' for n in names], seed)
        lines = [
            ','.join([name, *(f'{float(k == i)}' for i in range(7))])
            for name, k in zip(names, LABELS, strict=True)
        ]
        head = 'image,MEL,NV,BCC,AKIEC,BKL,DF,VASC'
        table = f'{stem}_GroundTruth'
        text(root / table / f'{table}.csv', head, *lines)


def classes(root: Path) -> None:
    paths = [root / f'class{k}/{i}.jpg' for i, k in enumerate(LABELS)]
    photos(paths, 0)
    other = [root / f'class{k}/x{i}.jpg' for i, k in enumerate(LABELS)]
    photos(other, 1)


def write(root: Path) -> Path:
    """All of them, in folders of their usual names."""
    cifars(root)
    for name, one in {
        'svhn': svhn,
        'food-101': food,
        'fgvc-aircraft-2013b': aircraft,
        'Stanford_Cars': cars,
        'dtd': dtd,
        'Oxford-IIIT_Pets': pets,
        'medmnist': medmnist,
        'isic2018': isic,
        'EuroSAT': classes,
        'NWPU-RESISC45': classes,
    }.items():
        one(root / name)
    return root
