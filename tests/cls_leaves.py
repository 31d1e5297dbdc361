"""Leaves of classification cut to two iterations, and data that they read."""

from copy import deepcopy
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from mmengine.config import Config, config
from mmengine.runner import Runner, runner
from seg_leaves import CONFIGS
from test_datasets import flowers, idx

import eavit_mm  # noqa: F401

# Widths of ViT-Ti and ViT-B are divided by this.
_SCALE = 16
ARCHS = {
    'deit-tiny': dict(embed_dims=192, num_heads=3, feedforward_channels=768),
    'b': dict(embed_dims=768, num_heads=12, feedforward_channels=3072),
}
SIZES = {224: 32, 256: 36}  # pixels
_number = count()


@cache
def read(name: str) -> Config:
    return Config.fromfile(CONFIGS / name)


def draw_folders(root: Path) -> None:
    """Two classes of a few photographs in each part, as WebP."""
    rng = np.random.default_rng(0)
    for part in ('train', 'val', 'test'):
        for name in ('one', 'two'):
            (root / part / name).mkdir(parents=True)
            for i in range(4):
                pixels = rng.integers(256, size=(40, 48, 3), dtype=np.uint8)
                path = root / part / name / f'{i}.webp'
                assert cv2.imwrite(str(path), pixels)


def write_data(root: Path) -> Path:
    """What every leaf reads, in folders with the names of the sets."""
    idx.write(root / 'fashion-mnist', compressed=False)
    flowers.write(root / 'Flowers102')
    draw_folders(root / 'flowers89')
    return root


def narrow(values: Any) -> Any:
    """Widths, or lists of them, of a network of narrow channels."""
    if isinstance(values, list):
        return [narrow(value) for value in values]
    return values // _SCALE


def shrink(model: Any) -> None:
    """Makes a config's ViT-Ti or ViT-B one with as many heads and layers."""
    backbone, arch = model.backbone, ARCHS.get(str(model.backbone.arch))
    if arch is None:
        return
    wide = dict(arch, embed_dims=narrow(arch['embed_dims']), num_layers=12)
    wide['feedforward_channels'] = narrow(arch['feedforward_channels'])
    backbone.arch = wide
    backbone.img_size = min(backbone.img_size, 32)
    for axis in ('embed_dims', 'feedforward_channels'):
        backbone.space[axis] = narrow(backbone.space[axis])
    model.head.in_channels = wide['embed_dims']


def smaller_data(value: Any, root: Path) -> None:
    """Gives loaders the data here, and images of few pixels, in place."""
    for key, part in value.items():
        if key == 'data_root':
            value[key] = str(root / Path(part).name)
        elif key == 'parts':
            value[key] = dict(dict.fromkeys(part, 4), train=None)
            if 'unused' in part:
                value[key] = dict(search=4, unused=None)
        elif isinstance(part, int):
            value[key] = SIZES.get(part, part)
        for each in part if isinstance(part, list) else [part]:
            if isinstance(each, dict):
                smaller_data(each, root)


def narrow_level(level: dict[str, Any], model: Any) -> dict[str, Any]:
    """Bounds that reach the space of a model."""
    space = model.backbone.space
    axes = ('embed_dims', 'num_heads', 'feedforward_channels')
    return {**level, **{axis: min(space[axis]) for axis in axes}}


def run(name: str, folder: Path, root: Path, **changes: Any) -> Runner:
    """Two iterations of a leaf with a narrow network; its last checkpoint."""
    cfg = deepcopy(read(name))
    shrink(cfg.model)
    cfg.model.backbone.init_cfg = None
    for part in ('val', 'test'):
        for key in ('cfg', 'dataloader', 'evaluator'):
            cfg[f'{part}_{key}'] = None
    loader = cfg.train_dataloader
    loader.update(batch_size=4, num_workers=0, persistent_workers=False)
    loader.collate_fn = dict(type='default_collate')
    smaller_data(loader, root)
    by_epoch = cfg.train_cfg.by_epoch
    unit, length = ('epochs', 1) if by_epoch else ('iters', 2)
    cfg.train_cfg.update({f'max_{unit}': length, 'val_interval': length})
    cfg.default_hooks.checkpoint.interval = length
    cfg.default_hooks.logger = None
    cfg.param_scheduler = []
    for key in ('type', 'dtype', 'loss_scale'):  # of a GPU
        cfg.optim_wrapper.pop(key, None)
    for hook in cfg.custom_hooks:
        if 'levels' in hook:
            last = dict(hook.levels[-1], begin=1)
            hook.levels = [dict(begin=0), narrow_level(last, cfg.model)]
        if 'warmup' in hook:
            hook.update(warmup=0.5, num_budgets=0)
    cfg.update(log_level='ERROR', work_dir=str(folder))
    # Runners of one second share a message hub if they share a name.
    cfg.experiment_name = f'leaf{next(_number)}'
    cfg.merge_from_dict(changes)
    with (
        patch.object(config, 'FormatCode', lambda text, **_: (text, True)),
        patch.object(runner, 'collect_env', dict),
    ):
        built = Runner.from_cfg(cfg)
    # As from a checkpoint: what is sorted must have been loaded.
    built.model.load_state_dict(built.model.state_dict())
    built.train()
    return built
