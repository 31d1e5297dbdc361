"""What holds for all tests: no data by hand, no GPU where there is none."""

import os
import runpy
import sys
from pathlib import Path

import pytest
import torch

HIDDEN_DATA = Path(__file__).with_name('hidden_data')
# Processes that tests start are watched as well.
os.environ['PYTHONPATH'] = os.pathsep.join(
    filter(None, (str(HIDDEN_DATA), os.environ.get('PYTHONPATH')))
)
runpy.run_path(str(HIDDEN_DATA / 'sitecustomize.py'))
# Tools that are run within this process find what they share.
sys.path.append(str(Path(__file__).resolve().parents[1] / 'tools'))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` are skipped, and said to be, without one."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker('gpu'):
            item.add_marker(pytest.mark.skip(reason='needs an accelerator'))
