"""Shorter trainings, as changes of configs, and ones that learnt nothing."""

from pathlib import Path

import pytest
from mmengine.config import Config

from eavit_mm.engine.adaptation import near_chance, shorten

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def test_a_shorter_training_keeps_its_shape() -> None:
    cfg = Config.fromfile(CONFIGS / 'eavit' / 'vitmini_digits.py')
    shorten(cfg, 0.1)
    assert cfg.train_cfg.max_epochs == 8
    assert cfg.train_cfg.val_interval == 8
    assert [s.get('end') for s in cfg.param_scheduler] == [1, None]
    (levels,) = (h.levels for h in cfg.custom_hooks if 'levels' in h)
    assert [level.begin for level in levels] == [0, 1, 2]
    assert cfg.default_hooks.checkpoint.interval == 2
    cfg = Config.fromfile(CONFIGS / 'eavit' / 'vitmini_fashion40_stage2.py')
    shorten(cfg, 0.01)
    assert cfg.train_cfg.max_iters == 60
    assert [(s.get('begin'), s.end) for s in cfg.param_scheduler] == [
        (None, 1),
        (1, 60),
    ]
    assert cfg.custom_hooks[0].warmup == 1
    # Levels at shares of 80,000 iterations; each takes at least one.
    recipe = CONFIGS / '_base_' / 'eavit_seg_80k.py'
    for share, begins in (
        (0.001, [0, 8, 12, 16, 20, 24, 28]),
        (0.00001, [0, 1, 2, 3, 4, 5, 6]),
    ):
        cfg = Config.fromfile(recipe)
        shorten(cfg, share)
        levels = cfg.custom_hooks[1].levels
        assert [level.begin for level in levels] == begins
        assert cfg.train_cfg.max_iters > begins[-1]


@pytest.mark.parametrize(
    ('best', 'samples', 'classes', 'is_told'),
    [
        (25.0, 32, 4, True),
        (38.0, 32, 4, True),  # two standard errors are 14.6
        (41.0, 32, 4, False),
        (26.5, 10_000, 4, False),
        (1.0, None, 100, True),  # of as many images as nobody knows
        (1.5, None, 100, False),
        (1.0, 1_000, None, False),  # no classifier
    ],
)
def test_a_training_that_learnt_nothing_is_told(
    best: float, samples: int | None, classes: int | None, is_told: bool
) -> None:
    metric = 'accuracy/top1'
    rows = [dict(metrics={metric: value}) for value in (0.5, best)]
    results = dict(metric=metric, samples=samples, subnets=rows)
    said = near_chance(results, classes)
    assert bool(said) == is_told
    assert not said or f'{100 / (classes or 1):.1f} %' in said
    assert not near_chance(dict(results, metric='mIoU'), classes)
    assert not near_chance(dict(results, subnets=[]), classes)
