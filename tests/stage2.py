"""A checkpoint of stage 2 whose front and its values are made up."""

from pathlib import Path
from typing import Any

import torch
from fronts import front_of, randomise_vit
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

import eavit_mm  # noqa: F401
from eavit_mm.space.pareto import Member

ROOT = Path(__file__).resolve().parents[1]
CONFIG = f"""
_base_ = ['{ROOT}/configs/eavit/vitmini_digits.py']
model = dict(
    backbone=dict(init_cfg=None),
    router=dict(type='eavit_mm.RouterHead', front='gone/pareto.json'))
custom_hooks = [dict(type='eavit_mm.RouterHook', warmup=1)]
load_from = 'gone/epoch_80.pth'
"""


def stage2_config(folder: Path) -> Path:
    """A config on digits; the files that it names are gone."""
    path = folder / 'digits_stage2.py'
    path.write_text(CONFIG)
    return path


def stage2_model(config: Path) -> Any:
    """Its supernet, with random weights."""
    cfg = Config.fromfile(config)
    cfg.model.data_preprocessor = cfg.data_preprocessor
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model: Any = MODELS.build(cfg.model)
    randomise_vit(model)
    front = front_of(model, 12)
    model.router.set_front(front)
    model.router.is_ready = True
    model.router.evaluated = dict(
        front=front.members,
        router=tuple(
            Member(
                m.subnet,
                {front.metric: 49.0 + 2 * i},
                m.macs,
                m.params,
            )
            for i, m in enumerate(front.members[:6])
        ),
    )
    model.eval()
    return model


def stage2_checkpoint(model: Any, path: Path) -> Path:
    """As a training writes it."""
    space = model.backbone.space.to_config()
    classes = [f'digit {i}' for i in range(model.head.num_classes)]
    meta = dict(
        eavit_mm=dict(space=space, rearrangement=None, stage=2),
        dataset_meta=dict(classes=classes),
    )
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return path
