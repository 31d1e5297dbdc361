"""The benchmark of methods on real photographs: configs, runs, and page."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmpretrain.registry import MODELS

from benchmarks import (
    real,
    real_112,
    real_ablations,
    real_cls,
    real_cost,
    real_report,
)
from benchmarks.accuracy import read_records
from benchmarks.cost import routed_share, training_cost, with_length
from benchmarks.methods import read_config
from benchmarks.real import DENSE, EA_VIT, STAGE2

TASK = real_cls.TASK
SHORT = replace(TASK, passes=6_400)


def cost_of(configs: Mapping[str, Config]) -> float:
    """Images through the whole network and back, of all stages together."""
    return sum(
        cfg.train_cfg.max_iters
        * cfg.train_dataloader.batch_size
        * routed_share(cfg)
        if cfg.model.get('router')
        else training_cost(cfg)
        for cfg in configs.values()
    )


@pytest.mark.parametrize('method', TASK.methods)
def test_methods_cost_the_same(method: str) -> None:
    configs = real.configs_of(SHORT, method, 'flowers89', 2)
    assert cost_of(configs) == pytest.approx(SHORT.passes, rel=0.05)
    assert {cfg.randomness.seed for cfg in configs.values()} == {2}


def test_a_method_may_cost_a_multiple() -> None:
    task = replace(real_cost.TASK, passes=2_000)
    for method, factor in task.times.items():
        configs = real.configs_of(task, method, 'eurosat', 0)
        expected = pytest.approx(2_000 * factor, rel=0.1)
        assert cost_of(configs) == expected, method
    assert set(task.times.values()) == {2, 4}


@pytest.mark.parametrize(
    ('method', 'stage'), [(EA_VIT, STAGE2), ('Flextron', 'phase2')]
)
def test_what_a_router_draws_costs_what_was_said(
    method: str, stage: str
) -> None:
    cfg = real.configs_of(SHORT, method, 'dtd10', 0)[stage]
    gated = 1 if method == 'Flextron' else 4  # which it does not heed
    cfg.model.router.update(highest=1.6, skew=2.0, gated_every=gated)
    cfg.model.router.front = None
    (warmup,) = (h.warmup for h in cfg.custom_hooks if 'warmup' in h)
    router = MODELS.build(cfg.model).router
    router.init_weights()
    costs = []
    for iteration in range(400):
        (route,) = router.draw([7, iteration], iteration)
        is_whole = route.gates is not None
        assert not (is_whole and method == 'Flextron')
        cost = 1.0 if is_whole else float(route.budgets)
        if iteration < warmup * 400:  # of three passes, forward and two back
            cost *= 2 / 3 if is_whole else 1 / 3
        costs.append(cost)
    assert routed_share(cfg) == pytest.approx(np.mean(costs), rel=0.05)


@pytest.mark.parametrize('name', TASK.sets)
def test_every_method_has_the_same_images(name: str) -> None:
    found = {
        json.dumps([cfg.train_dataloader, cfg.val_dataloader], default=str)
        for stages in TASK.methods.values()
        for cfg in (read_config(path.format(name)) for path in stages.values())
    }
    assert len(found) == 1
    assert 'test' not in found.pop()


def test_larger_images_change_nothing_else() -> None:
    texts = [
        real.configs_of(task, DENSE, 'eurosat', 1)[DENSE].pretty_text
        for task in (SHORT, replace(real_112.TASK, passes=SHORT.passes))
    ]
    lines = zip(*(text.splitlines() for text in texts), strict=True)
    changed = [(old, new) for old, new in lines if old != new]
    # The network's, and of the images two when they are read.
    assert len(changed) == 1 + 1 + 2 + 2
    assert all(new == old.replace('64', '112') for old, new in changed)


def test_runs_are_recorded_once_and_shown(
    tmp_path: Path, made_up: list[str]
) -> None:
    path = tmp_path / 'records.json'
    task = replace(SHORT, records=path)
    for method in (DENSE, EA_VIT, 'MatFormer', 'alone 50%'):
        asked = (task, method, 'dtd10', 0, tmp_path)
        assert real.run(*asked).endswith('measured')
        assert real.run(*asked).endswith('known')
    # Whole networks, stage 1, stage 2, MatFormer and half of the widths.
    assert len(made_up) - made_up.count('search') == 5
    assert made_up.count('search') == 2
    records = read_records(path)
    (alone,) = (r for r in records if r['method'] == 'alone 50%')
    (answer,) = alone['answers']['alone 50%']['uniform']
    assert answer[0] == 0.5
    (ours,) = (r for r in records if r['method'] == EA_VIT)
    budgets = [str(b) for b, *_ in ours['answers'][STAGE2]['router']]
    assert list(ours['chosen']) == budgets
    text = real_report.write_page(real_cls.PAGE, records, tmp_path).read_text()
    assert (tmp_path / 'real_cls_dtd10.png').exists()
    assert (tmp_path / 'real_cls_chosen.png').exists()
    lines = [line for line in text.splitlines() if line.startswith('|')]
    # MatFormer narrows the FFN alone.
    (theirs,) = (x for x in lines if x.startswith('| MatFormer (1)'))
    assert theirs.split('|')[2:4] == ['  ', '  ']
    assert any(line.startswith('| alone 50%') for line in lines)


@pytest.mark.parametrize(
    'task', [TASK, real_ablations.TASK, real_112.TASK, real_cost.TASK]
)
def test_committed_records_are_of_todays_configs(
    task: real.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stages of their lengths cost is asked of the first of a method."""
    seen = set()
    for found in read_records(task.records):
        lengths = iter(found['iterations'].values())
        with monkeypatch.context() as patch:
            if found['method'] in seen:
                patch.setattr(
                    real,
                    'of_cost',
                    lambda cfg, _, known=lengths: with_length(
                        cfg, next(known)
                    ),
                )
            asked = (found['method'], found['regime'], found['seed'])
            configs = real.configs_of(task, *asked)
        assert real.hash_of(task, configs) == found['hash']
        seen.add(found['method'])
