"""A router of budgets of a part of the network."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.logging import MMLogger
from test_budget_solver import fitted, untrained

from eavit_mm.apis import ask
from eavit_mm.models import BudgetSolver
from eavit_mm.models.budget_solver import UnreachableError
from eavit_mm.models.consumers import Count
from eavit_mm.models.elastic_model import ElasticModelMixin
from eavit_mm.space import Budget


@pytest.mark.parametrize('part', ['backbone', 'total'])
def test_a_router_is_asked_for_its_own_part(
    tmp_path: Path, monkeypatch: Any, part: str
) -> None:
    """Where the head has most of the MACs and the same for all subnets."""
    name, heavy = '_count_consumers', dict(head=Count(10**7, 0))
    monkeypatch.setattr(ElasticModelMixin, name, lambda *args: heavy)
    model = fitted(tmp_path, hidden=2, fit_steps=120, part=part)
    assert model.router.tables['macs'].largest == model.macs()[part]
    solver, other = BudgetSolver(model, part='backbone'), 0
    assert BudgetSolver(model).part == part
    (row,) = ask(SimpleNamespace(model=model), 0.999)
    assert row['part'] == part
    assert row['limit'] == pytest.approx(0.999 * model.macs()[part])
    for reference in model.router.front.references:
        own = model.macs(reference.subnet)['backbone']
        subnet = solver([Budget.parse(f'{own}macs')], 'router')
        assert 0.95 * own <= model.macs(subnet)['backbone'] <= own
        other += subnet != reference.subnet
    assert other <= 3


def test_a_budget_of_another_part_than_the_routers_is_told(
    caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    request.addfinalizer(lambda: logger.removeHandler(caplog.handler))
    model = untrained(part='backbone')
    BudgetSolver(model)([Budget.parse(0.5)])
    assert '--part' not in caplog.text
    solver, half = BudgetSolver(model, part='total'), [Budget.parse(0.5)]
    with pytest.raises(UnreachableError):
        solver([Budget.parse(1e-6)])
    solver(half, 'uniform')
    assert '--part' not in caplog.text  # the router does not answer
    for _ in range(2):
        solver.route(solver.limits(half))
    assert caplog.text.count('--part') == 1
    text = "the total; the router was trained for those of part='backbone' (--"
    assert text in caplog.text
