"""Leaves of classification cut to two iterations, and data that they read."""

from copy import deepcopy
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from fronts import front_of
from mmengine.config import Config, config
from mmengine.runner import Runner, runner
from seg_leaves import CONFIGS
from test_datasets import flowers, idx

import eavit_mm  # noqa: F401

AXES = ('embed_dims', 'num_heads', 'feedforward_channels')
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


def shrink(model: Any, num_layers: int = 12) -> None:
    """Makes a config's ViT-Ti or ViT-B one of narrower heads and FFNs."""
    backbone = model.backbone
    if not isinstance(backbone.arch, str):
        return
    space = backbone.space
    for axis in (AXES[0], AXES[2]):
        space[axis] = [width // 16 for width in space[axis]]
    backbone.arch = {axis: max(space[axis]) for axis in AXES}
    backbone.arch.num_layers = num_layers
    backbone.img_size = min(backbone.img_size, 32)
    model.head.in_channels = backbone.arch.embed_dims


def smaller_data(value: Any, root: Path) -> None:
    """Gives loaders the data here, and images of few pixels, in place."""
    for key, part in value.items():
        if key == 'data_root':
            value[key] = str(root / Path(part).name)
        elif part == 'data/images':
            value[key] = str(root / 'images')
        elif key == 'parts':
            value[key] = {name: size and 4 for name, size in part.items()}
        elif isinstance(part, int):
            value[key] = SIZES.get(part, part)
        for each in part if isinstance(part, list) else [part]:
            if isinstance(each, dict):
                smaller_data(each, root)


def run(
    name: str,
    folder: Path,
    root: Path,
    num_layers: int = 12,
    **changes: Any,
) -> Runner:
    """Two iterations of a leaf with a narrow network; its last checkpoint."""
    cfg = deepcopy(read(name))
    shrink(cfg.model, num_layers)
    cfg.model.backbone.init_cfg = None
    for part in ('val', 'test'):
        for key in ('cfg', 'dataloader', 'evaluator'):
            cfg[f'{part}_{key}'] = None
    loader = cfg.train_dataloader
    loader.update(batch_size=4, num_workers=0, persistent_workers=False)
    loader.collate_fn = dict(type='default_collate')
    smaller_data(loader, root)
    by_epoch = cfg.train_cfg.by_epoch
    unit = 'epochs' if by_epoch else 'iters'
    hooks = cfg.get('custom_hooks', [])
    has_levels = any('levels' in hook for hook in hooks)
    length = 2 if has_levels or not by_epoch else 1
    cfg.train_cfg.update({f'max_{unit}': length, 'val_interval': length})
    cfg.default_hooks.checkpoint.interval = length
    cfg.default_hooks.logger = None
    cfg.param_scheduler = []
    for key in ('type', 'dtype', 'loss_scale'):  # of a GPU
        cfg.optim_wrapper.pop(key, None)
    for hook in hooks:
        if 'levels' in hook:
            last = {axis: min(cfg.model.backbone.space[axis]) for axis in AXES}
            last = {**hook.levels[-1], **last, 'begin': 1}
            hook.levels = [dict(begin=0), last]
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


def going_on(first: Runner) -> dict[str, Any]:
    """What a second stage begins with: the first one's weights and a front."""
    folder = Path(first.work_dir)
    front_of(first.model, number=3).write(folder / 'pareto.json')
    last = (folder / 'last_checkpoint').read_text()
    return {
        'load_from': str(folder / Path(last).name),
        'model.router.front': str(folder / 'pareto.json'),
        'model.router.fit_steps': 2,
    }
