"""Folders of images as people have them, for the cases of misuse."""

import json
import shutil
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.misuse.workspace import Case, Workspace

NAMES = ['rose', 'daisy', 'tulip', 'blue iris', 'käfer', '0', '10', 'oxalis']
# Names of the parts; None: no parts.
LAYOUTS: list[tuple[str, str] | None] = [
    None,
    None,
    ('train', 'test'),
    ('train', 'val'),
    ('Training', 'Testing'),
    ('TRAIN', 'VALID'),
    ('training', 'validation'),
]
JUNK = ['.ipynb_checkpoints', '__MACOSX', '@eaDir', '.git', 'empty']
ENDINGS = ['.png', '.jpg', '.JPG', '.jpeg', '.bmp', '.webp', '.tiff', '.tif']


def image_folder(rng: Random, space: Workspace) -> Case:
    """A folder of images with some oddities."""
    folder = space.folder
    root = folder / 'images'
    layout = rng.choice(LAYOUTS)
    classes = rng.sample(NAMES, rng.randint(1, 5))
    text = [f'{"/".join(layout or ["flat"])}']
    seeds = iter(range(10**6))
    for part in layout or ('',):
        for name in classes:
            for _ in range(rng.choice([1, 3, 6, 20, 20, 60])):
                _draw(root / part / name, name, next(seeds), '.png')
    text.append(f'{len(classes)} classes')
    for _ in range(rng.randint(0, 2)):
        text.append(_make_odd(rng, root, layout, classes))
    if rng.random() < 0.15:
        inner = folder / 'unpacked' / 'data set'
        inner.parent.mkdir()
        root.rename(inner)
        root = folder / 'unpacked'
        text.append('nested')
    good = sorted(
        str(p)
        for p in root.rglob('*')
        if p.suffix.lower() in ENDINGS and _is_good(p)
    )
    run = partial(_read, folder, root)
    check = partial(_check, folder, good)
    return Case('image folder', ', '.join(text), run, check)


def _draw(folder: Path, name: str, seed: int, ending: str) -> Path:
    """Writes an image whose name tells its class."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12), np.uint8)
    path = folder / f'{name}_{seed:06}{ending}'
    Image.fromarray(pixels).save(path)
    return path


def _make_odd(
    rng: Random,
    root: Path,
    layout: tuple[str, str] | None,
    classes: list[str],
) -> str:
    """Does one odd thing to the folder; says what."""
    trained = root / layout[0] if layout else root
    name = rng.choice(classes)
    some = sorted((trained / name).iterdir())[0]
    way = rng.choice(
        ['junk', 'ending', 'empty file', 'cut', 'text', 'README', 'twin']
        + ['link', 'one more part', 'file in root']
    )
    if way == 'junk':
        junk = trained / rng.choice(JUNK)
        if junk.name == 'empty':
            junk.mkdir(exist_ok=True)
        else:
            _draw(junk, 'junk', 0, '.png')
        return junk.name
    if way == 'ending':
        ending = rng.choice(ENDINGS)
        _draw(trained / name, name, rng.randrange(10**5, 10**6), ending)
        return ending
    if way == 'empty file':
        (some.parent / f'{name}_bad.png').touch()
    elif way == 'cut':
        data = some.read_bytes()
        (some.parent / f'{name}_bad.png').write_bytes(data[: len(data) // 2])
    elif way == 'text':
        (some.parent / f'{name}_bad.jpg').write_text('no image')
    elif way == 'README':
        (some.parent / 'README.txt').write_text('a text')
    elif way == 'file in root':
        shutil.copy(some, root / 'cover.png')
    elif way == 'twin' and layout:
        shutil.copy(some, root / layout[1] / name / f'{name}_twin.png')
    elif way == 'link' and layout:
        shutil.rmtree(root / layout[1])
        (root / layout[1]).symlink_to(trained)
    elif way == 'one more part':
        _draw(root / 'extra' / name, name, rng.randrange(10**5), '.png')
    return way


def _is_good(path: Path) -> bool:
    return not path.stem.endswith(('bad', 'cover')) and path.stem[:4] != 'junk'


def _read(folder: Path, root: Path) -> None:
    """Takes the folder as an adaptation does, and reads every image."""
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import DATASETS

    from eavit_mm.engine.cli import run_tool
    from eavit_mm.engine.image_folder import use_image_folder

    def read() -> None:
        cfg = Config.fromfile(folder / 'stage1.py')
        init_default_scope('mmpretrain')
        use_image_folder(cfg, root)
        found: dict[str, Any] = {}
        for part in ('train', 'val', 'test'):
            dataset = DATASETS.build(cfg[f'{part}_dataloader'].dataset)
            dataset.full_init()
            classes = dataset.metainfo['classes']
            rows = [dataset.get_data_info(i) for i in range(len(dataset))]
            found[part] = [
                [row['img_path'], classes[row['gt_label']]] for row in rows
            ]
            for i in range(len(dataset)):
                assert dataset[i]['inputs'].shape[-1] == 28
        (folder / 'found.json').write_text(json.dumps(found))

    run_tool(read)


def _check(folder: Path, good: list[str], output: str) -> str:
    """What is wrong with the parts that were read; empty if nothing."""
    found = json.loads((folder / 'found.json').read_text())
    seen: dict[bytes, str] = {}
    for part, rows in found.items():
        labels = {label for _, label in rows}
        if len(labels) < len({x for r in found.values() for _, x in r}):
            return f'{part} has {sorted(labels)} alone'
        for path, label in rows:
            if not Path(path).name.startswith(f'{label}_'):
                return f'{path} is taken for {label}'
            if seen.setdefault(Path(path).read_bytes(), part) != part:
                return f'{path} is in {part} and in another part'
    taken = {str(Path(p)) for rows in found.values() for p, _ in rows}
    for path in good:
        resolved = {path, str(Path(path).resolve())}
        # Named itself, or its part.
        names = Path(path).name, f"'{Path(path).parts[-3]}'"
        told = any(name in output for name in names)
        if not resolved & taken and not told:
            return f'{path} is left out without a word'
    return ''
