"""Options that mmengine looks at late or never."""

from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook

from eavit_mm.engine.config_check import check_classes, check_config

from .toys import build, config, model_cfg, stock_cfg

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
CHECKPOINT = dict(type='CheckpointHook', interval=1)


def with_checkpoint(**options: Any) -> dict[str, Any]:
    return dict(checkpoint={**CHECKPOINT, **options})


@pytest.mark.parametrize(
    'path', sorted(CONFIGS.glob('*/*.py')), ids=lambda path: path.name
)
def test_configs_are_right(path: Path) -> None:
    check_config(Config.fromfile(path))


@pytest.mark.parametrize(
    'changes',
    [
        dict(randomness={}),
        dict(randomness=dict(seed=None, deterministic=True)),
        dict(param_scheduler=None),
        dict(param_scheduler=dict(type='LinearLR', end=1e2)),
        dict(param_scheduler=dict(a=[dict(type='LinearLR')])),
        dict(train_cfg=dict(max_epochs=1.0)),
        dict(optim_wrapper=dict(accumulative_counts=2)),
        dict(default_hooks=with_checkpoint(save_best=['a', 'b'])),
        dict(default_hooks=dict(checkpoint=None)),
        dict(custom_hooks=[dict(type=CheckpointHook, interval=1)]),
        # An error where it is built, not here.
        dict(custom_hooks=[dict(type='Unknown', interval='1')]),
        dict(custom_hooks=[dict(type=5), 'x']),
    ],
    ids=str,
)
def test_what_may_be_passes(changes: dict[str, Any], tmp_path: Path) -> None:
    check_config(config(tmp_path, **changes))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(resume='yes'), "^resume='yes'; must be True or False$"),
        (dict(param_scheduler='cosine'), "^param_scheduler='cosine'; must"),
        (
            dict(param_scheduler=dict(a=[dict(type='LinearLR', end='1')])),
            r"^param_scheduler\.a\.0\.end='1'; must be an integer$",
        ),
        (dict(randomness='a'), "^randomness='a'; must be a dict"),
        (dict(randomness=None), '^randomness=None; must be a dict of'),
        (
            dict(randomness=dict(seed='a')),
            r"^randomness\.seed='a'; must be an integer or None$",
        ),
        (
            dict(randomness=dict(sed=1)),
            r"^randomness\.sed=1 is no option; valid are \['seed'",
        ),
        (
            dict(optim_wrapper=dict(accumulative_counts=1.5)),
            r'^optim_wrapper\.accumulative_counts=1\.5; must be an integer$',
        ),
        (
            dict(train_cfg=dict(max_epochs=1, val_interval='1')),
            r"^train_cfg\.val_interval='1'; must be an integer$",
        ),
        (
            dict(default_hooks=with_checkpoint(max_keep_ckpts='1')),
            r"^default_hooks\.checkpoint\.max_keep_ckpts='1'; must be an int",
        ),
        # An argument of the parent class, and a class instead of its name.
        (
            dict(
                default_hooks=with_checkpoint(
                    type='eavit_mm.AtomicCheckpointHook', interval=0.5
                )
            ),
            r'^default_hooks\.checkpoint\.interval=0\.5; must be an integer$',
        ),
        (
            dict(custom_hooks=[dict(type=CheckpointHook, interval='1')]),
            r"^custom_hooks\.0\.interval='1'; must be an integer$",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_is_said(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        check_config(config(tmp_path, **changes))


@pytest.mark.parametrize('make', [model_cfg, stock_cfg])
def test_a_head_of_too_few_classes(make: Any, tmp_path: Path) -> None:
    for number in (3, 4):
        head = dict(type='LinearClsHead', num_classes=number, in_channels=12)
        check_classes(build(tmp_path, model={**make(), 'head': head}))
    head['num_classes'] = 2
    with pytest.raises(
        ValueError, match='num_classes=2; the training data have 3 classes'
    ):
        check_classes(build(tmp_path, model={**make(), 'head': head}))
    untrained = dict.fromkeys(
        ('train_dataloader', 'train_cfg', 'optim_wrapper')
    )
    check_classes(build(tmp_path, model={**make(), 'head': head}, **untrained))
