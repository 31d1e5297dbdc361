"""The demo: what it promises, and what it shows of its results."""

import json
import runpy
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from tool_runs import ROOT

DEMO = runpy.run_path(str(ROOT / 'tools/demo.py'))
TASKS = DEMO['TASKS']


def result(task: Any, value: float, used: float = 0.9) -> dict[str, Any]:
    """What tools/test.py writes, the same for all budgets."""
    rows = [
        dict(
            name=name,
            used=used,
            macs=int(1e6 * float(name)),
            macs_ratio=used * float(name),
            params=7e5,
            metrics={task.metric: value},
        )
        for name in task.budgets
    ]
    return dict(subnets=rows, samples=450)


def broken(
    task: str, adapted: float, uniform: float, used: float = 0.9
) -> list[str]:
    """The promises that are broken where all budgets have a value."""
    results = dict(
        adapted=result(TASKS[task], adapted, used),
        uniform=result(TASKS[task], uniform),
    )
    found: list[str] = DEMO['broken_promises'](TASKS[task], results)
    return found


def test_the_demo_says_which_promise_is_broken() -> None:
    # One standard error of 99.8 % right of 450 is 0.38 %.
    task = 'classification'
    assert broken(task, 99.5, 99.8) == []
    found = broken(task, 99.0, 99.8)
    assert len(found) == len(TASKS[task].budgets) + 1
    assert found[0] == '100% of the MACs: 99.0 < 99.1'
    found = broken(task, 99.2, 99.8)
    assert found == ['mean over budgets: 99.2 < 99.4']
    found = broken(task, 97.5, 90.0)
    assert found == ['100% of the MACs: 97.5 < 98.0']
    (first, *_) = broken(task, 99.8, 99.8, used=0.3)
    assert first == '100% of the MACs: 30.0% of it is used'


def test_of_miou_the_demo_knows_the_error() -> None:
    task, error = 'segmentation', TASKS['segmentation'].error
    assert broken(task, 90 - 0.9 * error, 90.0) == []
    found = broken(task, 90 - 1.1 * error, 90.0)
    assert found == [
        f'mean over budgets: {90 - 1.1 * error:.1f} < {90 - error:.1f}'
    ]
    found = broken(task, 90 - 2.1 * error, 90.0)
    assert len(found) == len(TASKS[task].budgets) + 1


@pytest.mark.parametrize('name', TASKS)
def test_tables_and_figures_of_a_demo(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    task, values = TASKS[name], iter((70.0, 99.0, 98.0, 50.0))
    commands: list[list[str]] = []

    def run(name: str, command: list[Any], log: Path) -> None:
        commands.append(command)
        if command[0] == 'tools/test.py':
            out = Path(command[command.index('--out') + 1])
            out.write_text(json.dumps(result(task, next(values))))

    main = DEMO['main']
    monkeypatch.setitem(main.__globals__, 'run', run)
    monkeypatch.setitem(
        main.__globals__, 'draw', lambda task, folder: folder / 'drawn.png'
    )
    # One after the other, so that it is known which asks first.
    pool = DEMO['ThreadPoolExecutor']
    monkeypatch.setitem(
        main.__globals__, 'ThreadPoolExecutor', lambda: pool(max_workers=1)
    )
    main(Namespace(task=name, work_dir=tmp_path, seed=3, check=True))
    assert [task.adapted, task.plain] == [
        command[1] for command in commands if command[0] != 'tools/test.py'
    ]
    said = capsys.readouterr().out
    assert ('drawn.png' in said) == bool(task.drawn)
    assert f'{task.title}: {task.axis} for a budget' in said
    table = [line.split('│')[1:-1] for line in said.splitlines()]
    rows = [[cell.strip() for cell in row] for row in table if row]
    assert len(rows) == len(task.budgets)
    for budget, row in zip(task.budgets, rows, strict=True):
        macs = f'{0.9 * float(budget):.1%}'
        expected = [f'{float(budget):.0%}', macs, '0.700']
        assert row == [*expected, '99.0', '98.0', '70.0', '50.0']
    saved = json.loads((tmp_path / 'demo.json').read_text())
    assert list(saved) == ['stage1', 'adapted', 'uniform', 'plain']
    assert (tmp_path / 'demo.png').stat().st_size > 1000
