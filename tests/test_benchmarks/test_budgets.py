"""Random budgets are asked, and one that is exceeded ends the benchmark."""

import numpy as np
import pytest

from benchmarks import budgets
from eavit_mm.models import BudgetSolver

MINI = 'ViT-mini'


@pytest.mark.parametrize('kinds', budgets.KINDS)
def test_a_row_of_the_page(kinds: tuple[str, ...]) -> None:
    row = budgets.measure(MINI, kinds, num=3, seeds=[5, 6])
    assert (row['routers'], row['budgets']) == (2, 6)
    assert 0.95 <= row['least_used'] <= 1
    assert row['little_used'] == 0


def test_routers_are_random() -> None:
    """Two answer otherwise, and neither with the whole network."""
    path = budgets.CONFIGS[MINI]
    models = [budgets.random_model(path, seed) for seed in (0, 1)]
    found = {model.router.subnet([0.5]) for model in models}
    assert len(found) == 2
    assert models[0].backbone.space.largest not in found


def test_an_exceeded_budget_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = budgets.random_model(budgets.CONFIGS[MINI], 0)
    solver = BudgetSolver(model)
    largest = solver.space.largest
    monkeypatch.setattr(solver, 'route', lambda limits: largest)
    with pytest.raises(ValueError, match='of .*macs'):
        budgets.answers(solver, ['macs'], 1, np.random.default_rng(0))
