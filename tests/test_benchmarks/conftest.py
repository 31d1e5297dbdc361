from pathlib import Path
from typing import Any

import pytest

from benchmarks import real
from benchmarks.gpu.timing import TINY
from benchmarks.speed_cases import Setting
from eavit_mm.models import BudgetSolver


@pytest.fixture
def tiny() -> Setting:
    """The speed benchmark's networks, small enough to run in no time."""
    return Setting(1, 'cpu', TINY)


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs train nothing; a network's mIoU follows from its curve and MACs."""
    done: list[str] = []

    def train(cfg: Any, folder: Path, **_: Any) -> tuple[Path, str]:
        done.append(str(cfg.train_cfg.max_iters))
        assert str(real.DATA) in str(cfg.test_dataloader.dataset)
        work_dir = tmp_path / str(len(done))
        work_dir.mkdir(exist_ok=True)
        return work_dir, f'{len(done)}.pth'

    def evaluate(cfg: Any, *args: Any) -> dict[str, tuple[int, float]]:
        split, checkpoint, _, metric = args
        assert split == 'test'
        assert metric in ('mIoU', 'accuracy/top1')
        lost = 30.0 if checkpoint == '1.pth' else 10.0
        better = dict(router=2.0, front=1.0, uniform=0.0)
        found = {}
        for name in cfg.test_cfg.subnets:
            source, budget = name.split()
            value = 70 - lost * (1 - float(budget)) + better[source]
            found[name] = (0, value)
        return found

    class Solver(BudgetSolver):
        """Uniform networks answer for a router that no training made."""

        def __init__(self, model: Any, part: str, front: Any) -> None:
            super().__init__(model, part=part)

        def check_source(self, by: str | None) -> None:
            assert by in ('router', 'front', 'uniform')

        def _sources(self) -> dict[str, Any]:
            return dict.fromkeys(('router', 'front', 'uniform'), self._uniform)

    monkeypatch.setattr(real, 'train', train)
    monkeypatch.setattr(real, 'evaluate', evaluate)
    monkeypatch.setattr(real, 'BudgetSolver', Solver)
    monkeypatch.setattr(real, 'load_supernet', lambda *args: None)
    monkeypatch.setattr(real, 'search', lambda *args: done.append('search'))
    monkeypatch.setattr(real, 'measured_by', lambda *args: ([], 1))
    monkeypatch.setattr(real, 'stock_metric', lambda *args: 67.0)
    return done
