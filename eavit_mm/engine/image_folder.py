"""A folder of images in place of a config's data."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from eavit_mm.datasets import ImageFolder
from eavit_mm.engine.checkpoint import naming

# What each loader is for; training validates on the images of the search, so
# that the test split is seen by nothing before the end.
_LOADERS = dict(train='train', val='search', search='search', test='test')


def use_image_folder(cfg: Config, folder: str | Path) -> None:
    """Takes a folder of images in place of a config's data, in place.

    Args:
        cfg: The config of a classifier; keeps its pipelines, batch sizes and
            samplers.
        folder: With parts, or to be cut into them, see ``ImageFolder``.

    Raises:
        ValueError: If it cannot be taken.
    """
    if not (cfg.get('model') or {}).get('head'):
        raise ValueError(f'--data: {cfg.filename} trains no classifier')
    place = str(Path(folder).absolute())  # stages may run elsewhere
    with naming('--data'):
        names = ImageFolder(place, part='train').metainfo['classes']
    cfg.model.head.num_classes = len(names)
    for owner in (cfg, cfg.model):
        if owner.get('data_preprocessor'):
            owner.data_preprocessor.num_classes = len(names)
    # Whether a flip leaves their labels true is not known.
    cfg.pop('tta_pipeline', None)
    for name, part in _LOADERS.items():
        loader = cfg.get(f'{name}_dataloader')
        if loader is not None:
            loader.dataset = ConfigDict(
                type='eavit_mm.ImageFolder',
                data_prefix=place,
                part=part,
                pipeline=_pipeline_of(cfg, loader.dataset),
            )


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
