"""What an adaptation changes in the configs of its stages."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

from eavit_mm.options import is_int

# The part of the training images that becomes the search split, and the most
# images that it may have.
_SEARCH_SHARE, _MOST_SEARCHED = 0.1, 2000
# The part that becomes the test split where a folder has none.
_TEST_SHARE = 0.2
_TEST = ('test', 'val')
_LAYOUTS = 'train/CLASS/*.jpg and test/CLASS/*.jpg, or CLASS/*.jpg'
# Fewer images cannot be split into parts.
_FEWEST = 10
# What each loader is for; training validates on the images of the search, so
# that the test split is seen by nothing before the end.
_LOADERS = dict(train='train', val='search', search='search', test='test')


def use_image_folder(cfg: Config, folder: str | Path) -> None:
    """Takes a folder of images in place of a config's data, in place.

    A folder with ``train/CLASS/*`` and ``test/CLASS/*`` (or ``val``), or with
    ``CLASS/*`` alone, of which a seeded fifth becomes the test split. A tenth
    of the training images, at most 2,000, is kept for the search.

    Args:
        cfg: The config of a classifier; keeps its pipelines, batch sizes and
            samplers.
        folder: Holds images of at least two classes.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no images in folders of classes.
    """
    parts = _parts_of(Path(folder))
    classes, tested = (
        set(_build(parts[part]).metainfo['classes'])
        for part in ('train', 'test')
    )
    if classes != tested:
        raise ValueError(
            f'--data {folder}: train and test have other classes: '
            f'{sorted(classes ^ tested)[:4]}'
        )
    cfg.data_preprocessor.num_classes = len(classes)
    if cfg.model.get('data_preprocessor'):
        cfg.model.data_preprocessor.num_classes = len(classes)
    cfg.model.head.num_classes = len(classes)
    for name, part in _LOADERS.items():
        loader = cfg.get(f'{name}_dataloader')
        if loader is not None:
            pipeline = _pipeline_of(cfg, loader.dataset)
            loader.dataset = deepcopy(ConfigDict(parts[part]))
            images = loader.dataset.get('dataset', loader.dataset)
            images.pipeline = pipeline


def _parts_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Data sets of the folder: train, search and test, without pipelines."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f'--data {folder}: no such folder; must hold {_LAYOUTS}'
        )
    trained, tested = folder, None
    if (folder / 'train').is_dir():
        trained = folder / 'train'
        tests = [folder / name for name in _TEST if (folder / name).is_dir()]
        if not tests:
            raise ValueError(
                f'--data {folder}: has train, but neither of {list(_TEST)}'
            )
        tested = _images(tests[0])
        _number_of(tested, least=1)
    whole = _images(trained)
    number = _number_of(whole, least=_FEWEST)
    sizes: dict[str, int | None] = {}
    if tested is None:
        sizes['test'] = round(_TEST_SHARE * number)
        number -= round(_TEST_SHARE * number)
    searched = max(1, min(round(_SEARCH_SHARE * number), _MOST_SEARCHED))
    sizes.update(search=searched, train=None)
    split = dict(type='eavit_mm.Split', parts=sizes, dataset=whole)
    parts = {part: dict(split, part=part) for part in sizes}
    return parts if tested is None else dict(parts, test=tested)


def _images(folder: Path) -> dict[str, Any]:
    # Absolute: stages may run elsewhere.
    return dict(
        type='mmpretrain.CustomDataset',
        data_prefix=str(folder.absolute()),
        pipeline=[],
    )


def _build(dataset: dict[str, Any]) -> Any:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        built = DATASETS.build(deepcopy(dataset))
        built.full_init()
    return built


def _number_of(dataset: dict[str, Any], least: int) -> int:
    where = f'--data {dataset["data_prefix"]}'
    try:
        number = len(_build(dataset))
    except (FileNotFoundError, RuntimeError, AssertionError) as error:
        raise ValueError(f'{where}: {error}; must hold {_LAYOUTS}') from error
    if number < least:
        raise ValueError(
            f'{where}: {number} images in folders of classes; must be at '
            f'least {least}'
        )
    return number


def _pipeline_of(cfg: Config, dataset: Mapping[str, Any]) -> list[Any]:
    """The data set's pipeline, beginning with a file."""
    while 'pipeline' not in dataset:
        dataset = dataset['dataset']
    pipeline = deepcopy(list(dataset['pipeline']))
    if pipeline and pipeline[0]['type'] == 'LoadImageFromFile':
        return pipeline
    channels = cfg.model.backbone.get('in_channels', 3)
    colour = 'grayscale' if channels == 1 else 'color'
    return [dict(type='LoadImageFromFile', color_type=colour), *pipeline]


def shorten(cfg: Config, share: float) -> None:
    """Scales a training in its length, schedules and levels alike, in place.

    Args:
        cfg: The config of a training.
        share: The part of the length to keep, in (0, 1).
    """

    def scale(value: int, least: int) -> int:
        return max(least, round(value * share))

    loop = cfg.train_cfg
    length = 'max_epochs' if loop.get('max_epochs') else 'max_iters'
    # Every level of a curriculum takes at least one.
    hooks = cfg.get('custom_hooks') or []
    levels = max((len(h.get('levels', ())) for h in hooks), default=0)
    loop[length] = scale(loop[length], max(levels, 1))
    loop.val_interval = loop[length]
    for scheduler in cfg.get('param_scheduler') or []:
        for key in ('begin', 'end', 'T_max'):
            if scheduler.get(key):
                scheduler[key] = scale(scheduler[key], 1)
    for hook in hooks:
        begin = -1
        for level in hook.get('levels', ()):
            level['begin'] = begin = max(scale(level['begin'], 0), begin + 1)
        if is_int(hook.get('warmup')):  # else a share of the length
            hook['warmup'] = scale(hook['warmup'], 1)
    saved = cfg.default_hooks.checkpoint
    saved['interval'] = scale(saved.get('interval', 1), 1)
