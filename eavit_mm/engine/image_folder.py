"""A folder of images in place of a config's data."""

import logging
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from eavit_mm.datasets import ImageFolder, MaskFolder
from eavit_mm.engine.checkpoint import naming

# The data of a model, by its head.
_KINDS: dict[str, type] = dict(head=ImageFolder, decode_head=MaskFolder)
# What each loader is for; training validates on the images of the search, so
# that the test split is seen by nothing before the end.
_LOADERS = dict(train='train', val='search', search='search', test='test')


def use_image_folder(cfg: Config, folder: str | Path) -> None:
    """Takes a folder of images in place of a config's data, in place.

    Args:
        cfg: The config of a classifier or segmentor; keeps its pipelines,
            batch sizes and samplers.
        folder: As ``ImageFolder`` takes it, or ``MaskFolder``.

    Raises:
        ValueError: If it cannot be taken.
    """
    model = cfg.get('model') or {}
    kinds: list[Any] = [_KINDS[name] for name in _KINDS if model.get(name)]
    if not kinds:
        raise ValueError(
            f'--data: {cfg.filename} trains no classifier and no segmentor'
        )
    place = str(Path(folder).absolute())  # stages may run elsewhere
    with naming('--data'):
        data = kinds[0](place, part='train')
    names = list(data.metainfo['classes'])
    _set_classes(cfg, len(names))
    options: dict[str, Any] = dict(
        type=f'eavit_mm.{kinds[0].__name__}', data_prefix=place
    )
    is_masked = kinds[0] is MaskFolder
    if is_masked:
        options['metainfo'] = dict(classes=names)  # read once, here
    # Whether a flip leaves their labels true is not known.
    cfg.pop('tta_pipeline', None)
    for name, part in _LOADERS.items():
        loader = cfg.get(f'{name}_dataloader')
        if loader is not None:
            pipeline = _pipeline_of(cfg, loader.dataset)
            loader.dataset = ConfigDict(
                **options, part=part, pipeline=pipeline
            )
            if is_masked and part != 'train':
                loader.batch_size = 1  # images may differ in size


def _set_classes(cfg: Config, number: int) -> None:
    """Gives heads, and what else counts them, the number of classes."""
    for name in (*_KINDS, 'auxiliary_head'):
        for head in _each(cfg.model.get(name)):
            head.num_classes = number
            if head.get('out_channels', 1) != 1:
                head.out_channels = number
            for loss in _each(head.get('loss') or head.get('loss_decode')):
                weights = loss.get('class_weight') or ()
                is_file = isinstance(weights, str)
                if is_file or len(weights) not in (0, number):
                    del loss['class_weight']
                    print_log(
                        f'--data: class_weight={weights!r:.80} of the '
                        f'{name} is left out: there are {number} classes',
                        'current',
                        logging.WARNING,
                    )
    for owner in (cfg, cfg.model) if cfg.model.get('head') else ():
        if owner.get('data_preprocessor'):
            owner.data_preprocessor.num_classes = number


def _each(given: Any) -> list[Any]:
    """The configs of one or several parts."""
    return given if isinstance(given, list) else [given] if given else []


def _pipeline_of(cfg: Config, dataset: Mapping[str, Any]) -> list[Any]:
    """The data set's pipeline, beginning with a file."""
    while 'pipeline' not in dataset:
        dataset = dataset.get('dataset') or dataset['datasets'][0]
    pipeline = deepcopy(list(dataset['pipeline']))
    for step in pipeline:
        if step.pop('reduce_zero_label', None):
            print_log(
                '--data: label 0 is a class, whatever reduce_zero_label of '
                f'{cfg.filename} says',
                'current',
                logging.WARNING,
            )
    if pipeline and pipeline[0]['type'] == 'LoadImageFromFile':
        return pipeline
    channels = cfg.model.backbone.get('in_channels', 3)
    colour = 'grayscale' if channels == 1 else 'color'
    return [dict(type='LoadImageFromFile', color_type=colour), *pipeline]
