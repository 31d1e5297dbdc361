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
    classes = _classes_of(parts['train'])
    tested = _classes_of(parts['test'])
    if classes != tested:
        differ = sorted(set(classes) ^ set(tested))
        raise ValueError(
            f'--data {folder}: train and test have other classes: {differ[:4]}'
        )
    cfg.data_preprocessor.num_classes = len(classes)
    if cfg.model.get('data_preprocessor'):
        cfg.model.data_preprocessor.num_classes = len(classes)
    cfg.model.head.num_classes = len(classes)
    for name, part in _LOADERS.items():
        loader = cfg.get(f'{name}_dataloader')
        if loader is not None:
            pipeline = _pipeline_of(cfg, loader.dataset)
            loader.dataset = _with_pipeline(parts[part], pipeline)


def _parts_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Data sets of the folder: train, search and test, without pipelines.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there are no images in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f'--data {folder}: no such folder; must hold train/CLASS/*.jpg '
            'and test/CLASS/*.jpg, or CLASS/*.jpg'
        )
    names = {path.name for path in folder.iterdir() if path.is_dir()}
    trained = folder / 'train' if 'train' in names else folder
    whole = _images(trained)
    number = _number_of(whole, trained, least=_FEWEST)
    tests = [name for name in _TEST if name in names]
    sizes: dict[str, int | None]
    if 'train' in names and tests:
        searched = _search_size(number)
        sizes = dict(search=searched, train=None)
        test = _images(folder / tests[0])
        _number_of(test, folder / tests[0], least=1)
    elif 'train' in names:
        raise ValueError(
            f'--data {folder}: has train, but neither of {list(_TEST)}'
        )
    else:
        tested = round(_TEST_SHARE * number)
        sizes = dict(
            test=tested, search=_search_size(number - tested), train=None
        )
        test = _split(whole, 'test', sizes)
    return dict(
        train=_split(whole, 'train', sizes),
        search=_split(whole, 'search', sizes),
        test=test,
    )


def _search_size(number: int) -> int:
    return max(1, min(round(_SEARCH_SHARE * number), _MOST_SEARCHED))


def _images(folder: Path) -> dict[str, Any]:
    # Absolute: stages may run elsewhere.
    return dict(
        type='mmpretrain.CustomDataset',
        data_prefix=str(folder.absolute()),
        pipeline=[],
    )


def _split(
    dataset: dict[str, Any], part: str, parts: Mapping[str, int | None]
) -> dict[str, Any]:
    return dict(
        type='eavit_mm.Split', part=part, parts=dict(parts), dataset=dataset
    )


def _build(dataset: dict[str, Any]) -> Any:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        built = DATASETS.build(deepcopy(dataset))
        built.full_init()
    return built


def _number_of(dataset: dict[str, Any], folder: Path, least: int) -> int:
    try:
        number = len(_build(dataset))
    except (FileNotFoundError, RuntimeError, AssertionError) as error:
        raise ValueError(
            f'--data {folder}: {error}; must hold train/CLASS/*.jpg and '
            'test/CLASS/*.jpg, or CLASS/*.jpg'
        ) from error
    if number < least:
        raise ValueError(
            f'--data {folder}: {number} images in folders of classes; '
            f'must be at least {least}'
        )
    return number


def _classes_of(dataset: dict[str, Any]) -> tuple[str, ...]:
    classes: tuple[str, ...] = tuple(_build(dataset).metainfo['classes'])
    return classes


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


def _with_pipeline(dataset: dict[str, Any], pipeline: list[Any]) -> ConfigDict:
    dataset = deepcopy(dataset)
    images = dataset.get('dataset', dataset)
    images['pipeline'] = pipeline
    return ConfigDict(dataset)


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
