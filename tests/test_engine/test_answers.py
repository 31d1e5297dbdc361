"""Budgets that a router is asked for when its training ends."""

from pathlib import Path
from typing import Any

import pytest
from fronts import front_of
from mmengine.config import Config
from tool_runs import DIGITS

from eavit_mm.engine.answers import new_objectives, router_answers
from eavit_mm.engine.cli import build_supernet
from eavit_mm.models import BudgetSolver

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize('classes', [10, 18, 50, 200])
def test_the_cheapest_subnet_answers_its_own_share(classes: int) -> None:
    """Its share times the largest's cost may be a hair less than its cost.

    So it is for 18, 50 and 200 classes.
    """
    cfg = Config.fromfile(ROOT / 'configs/eavit/vitmini_digits_stage2.py')
    cfg.model.head.num_classes = classes
    cfg.model.router.front = None
    model = build_supernet(cfg, 'a test')
    (table,) = model.router.tables.values()
    missed = table.lowest_share * table.largest < table.lowest
    assert missed == (classes != 10)
    least, *others, most = router_answers(model, 5)
    assert table.share(least) == table.lowest_share
    assert most == model.backbone.space.largest
    assert len(others) == 3


@pytest.mark.parametrize(
    ('search', 'words'),
    [
        (None, r'search_cfg\.metric=None; must name'),
        (dict(metric=3), r'search_cfg\.metric=3; must name'),
        (dict(metric='m', rule='less'), 'search_cfg: metric_worst=None'),
        (dict(metric='m', metric_scale=0), 'search_cfg: metric_scale=0'),
    ],
)
def test_a_front_without_labels_needs_the_metric_of_a_search(
    search: Any, words: str
) -> None:
    cfg = Config.fromfile(DIGITS.with_stem('vitmini_digits_stage2'))
    cfg.model.router.front = None
    model = build_supernet(cfg, 'a test')
    model.router.front = front_of(model)
    assert new_objectives(model, dict(search_cfg=search)) is None
    model.router.front = front_of(model, metric='similarity')
    with pytest.raises(ValueError, match=words):
        new_objectives(model, dict(search_cfg=search))
    right = dict(metric='m', rule='less', metric_worst=9, race=[0.5])
    objectives: Any = new_objectives(model, dict(search_cfg=right))
    assert (objectives.metric, objectives.rule) == ('m', 'less')
    assert objectives.worst == 9


def test_budgets_that_exclude_each_other_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The training must not end in an error: its checkpoint comes after."""
    cfg = Config.fromfile(ROOT / 'configs/eavit/vitmini_digits_stage2.py')
    cfg.model.router.update(front=None, budgets=['macs', 'params'])
    model = build_supernet(cfg, 'a test')
    macs = model.router.tables['macs']
    route = BudgetSolver.route

    def dear(solver: BudgetSolver, limits: dict[str, float]) -> object:
        """As if few parameters were to be had with many MACs only."""
        left = max(limits['macs'] - 0.3 * macs.largest, 1.0)
        return route(solver, dict(limits, macs=left))

    monkeypatch.setattr(BudgetSolver, 'route', dear)
    found = router_answers(model, 10)
    assert 5 <= len(found) <= 7
    assert all(macs.share(subnet) <= 0.7 for subnet in found)
