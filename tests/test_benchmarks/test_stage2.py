"""The benchmark of stage 2: configs and areas."""

from pathlib import Path
from typing import Any

import numpy as np
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


def test_variants_differ_in_one_thing(tmp_path: Path) -> None:
    def routers(variant: str) -> dict[str, Any]:
        cfg = stage2.stage2_config(variant, 0, 'last.pth', tmp_path / 'f.json')
        return dict(cfg.model.router)

    plain = routers(stage2.PLAIN)
    often = routers('gated in every step')
    assert often.pop('gated_every') == 1
    assert plain.pop('gated_every') == 5
    assert often == plain
    free = routers('no reference (lambda 2 = 0)')
    assert free.pop('pareto_weight') == 0
    assert dict(free, gated_every=5) == dict(plain, gated_every=5)


def test_areas_are_means_over_budgets() -> None:
    found = [(0.2, 0.1, 50.0), (0.4, 0.4, 70.0), (1.0, 0.9, 90.0)]
    expected = (0.2 * 60 + 0.6 * 80) / 0.8
    assert stage2.area(found) == pytest.approx(expected)


def test_budgets_reach_over_the_range() -> None:
    found = stage2.budgets()
    assert len(found) == stage2.BUDGETS
    assert found == sorted(set(found))
    assert found[0] == 0.052
    assert found[-1] == 1.0


def row(variant: str, seed: int, sources: tuple[str, ...]) -> dict[str, Any]:
    return dict(
        variant=variant,
        seed=seed,
        commit='abc',
        answers={s: [(0.1, 0.1, 80.0), (1.0, 0.9, 85.0)] for s in sources},
        areas=dict.fromkeys(sources, 82.5 + seed),
    )


def test_an_exceeded_budget_is_no_result(tmp_path: Path) -> None:
    over = row(stage2.PLAIN, 0, stage2.SOURCES)
    over['answers'][stage2.ROUTER][1] = (0.5, 0.51, 80.0)
    with pytest.raises(ValueError, match='0.51 of the MACs for a budget'):
        stage2.write_report([over], tmp_path)


def test_arguments_of_the_scripts_that_train_stage_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(stage2, 'macs_range', lambda uniform: asked.append(1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.argv', ['x', '--seeds', '4', '--work-dir', 'w'])
    args, folder = stage2.run_arguments('what it does')
    assert args.seeds == [4]
    assert folder == tmp_path / 'w'
    assert asked  # threads would each build the supernet
    monkeypatch.setattr('sys.argv', ['x'])
    assert stage2.run_arguments(None)[0].seeds == [0, 1, 2]


def test_unused_budget_is_no_lead_over_the_macs_taken() -> None:
    """Accuracies on one line, of which one side skips networks."""
    budgets = np.linspace(0.1, 1, 10)
    fine = [(b, b, 50 + 10 * b) for b in budgets]
    coarse = [
        (b, u, 50 + 10 * u)
        for b in budgets
        for u in [0.1 if b < 0.5 else 0.5 if b < 1 else 1.0]
    ]
    assert stage2.area(fine) > stage2.area(coarse)
    assert stage2.lead(fine, coarse) == pytest.approx(0)
    better = [(b, u, a + 2 * (u > 0.45)) for b, u, a in fine]
    assert stage2.lead(better, fine) == pytest.approx(1.1 / 0.9)
    assert stage2.lead(fine, better) == -stage2.lead(better, fine)
