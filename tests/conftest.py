"""What holds for all tests: no data by hand, no GPU where there is none."""

import gc
import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.registry import DefaultScope
from tool_runs import forget_runs

HIDDEN_DATA = Path(__file__).with_name('hidden_data')
# Processes that tests start are watched as well.
os.environ['PYTHONPATH'] = os.pathsep.join(
    filter(None, (str(HIDDEN_DATA), os.environ.get('PYTHONPATH')))
)
runpy.run_path(str(HIDDEN_DATA / 'sitecustomize.py'))
# Tools that are run within this process find what they share.
ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / 'tools'
sys.path.append(str(TOOLS))


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--device cpu`` tries the bodies of the tests for a GPU without one."""
    parser.addoption(
        '--device',
        default='cuda',
        choices=('cuda', 'cpu'),
        help='where the tests marked gpu run (default: cuda)',
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Tests marked ``gpu`` are skipped, and said to be, without one."""
    if torch.cuda.is_available() or config.getoption('device') == 'cpu':
        return
    for item in items:
        if item.get_closest_marker('gpu'):
            item.add_marker(pytest.mark.skip(reason='needs an accelerator'))


@pytest.fixture(scope='module', autouse=True)
def _less_garbage() -> Iterator[None]:
    # Every data set of mmengine collects garbage when it is built; what the
    # imports left need not be looked through each time.
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope='module', autouse=True)
def _own_scope() -> Iterator[None]:
    # Runners and inferencers leave their toolbox's scope behind.
    kept = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(kept)


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Runs a tool within this process: much faster, for what is checked."""

    def called(tool: str, *args: Any) -> None:
        argv = [str(TOOLS / tool), *map(str, args)]
        monkeypatch.setattr(sys, 'argv', argv)
        monkeypatch.chdir(tmp_path)
        forget_runs()
        runpy.run_path(argv[0], run_name='__main__')

    return called
