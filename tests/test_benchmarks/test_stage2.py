"""The benchmark of stage 2: configs and areas."""

from pathlib import Path
from typing import Any

import pytest
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from benchmarks import search, stage2
from benchmarks.methods import DEFAULT, METHODS, method_config


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supernet's length is not settled: that replays every draw."""
    monkeypatch.setattr(
        stage2,
        'run_config',
        lambda *args: method_config(METHODS[DEFAULT], search.REGIME, args[2]),
    )
    monkeypatch.setattr(
        stage2,
        'macs_range',
        lambda uniform=False: (52 if uniform else 40, 1000),
    )


@pytest.mark.parametrize('variant', stage2.VARIANTS)
def test_every_variant_builds(variant: str, tmp_path: Path) -> None:
    front = tmp_path / 'pareto.json'  # need not be there yet
    cfg = stage2.stage2_config(variant, 2, 'last.pth', front)
    assert cfg.randomness.seed == 2
    assert cfg.load_from == 'last.pth'
    init_default_scope(cfg.default_scope)
    model: Any = MODELS.build(cfg.model)
    hooks = [hook['type'] for hook in cfg.custom_hooks]
    if variant == stage2.CONTROL:
        assert model.router is None
        assert hooks == ['eavit_mm.CurriculumHook']
        (level,) = cfg.custom_hooks[0]['levels']
        assert level['begin'] == 0
        assert level['embed_dims'] == model.backbone.space.embed_dims[0]
        # The same draws as stage 1's last level.
        assert cfg.model.sampler == stage2.run_config(0, 0, 0).model.sampler
    else:
        assert model.router is not None
        assert hooks == ['eavit_mm.RouterHook']
        assert model.router.front_file == str(front)


def test_budgets_reach_over_the_range() -> None:
    found = stage2.budgets()
    assert len(found) == stage2.BUDGETS
    assert found == sorted(set(found))
    assert found[0] == 0.052
    assert found[-1] == 1.0


def test_an_exceeded_budget_is_no_result(tmp_path: Path) -> None:
    answers = [(0.1, 0.1, 80.0), (0.5, 0.51, 80.0)]
    over = dict(
        variant=stage2.PLAIN,
        seed=0,
        commit='abc',
        answers=dict.fromkeys(stage2.SOURCES, answers),
        areas=dict.fromkeys(stage2.SOURCES, 82.5),
    )
    with pytest.raises(ValueError, match='0.51 of the MACs for a budget'):
        stage2.write_report([over], tmp_path)
