"""What holds for all tests: no data by hand, no GPU where there is none."""

import os
import runpy
from pathlib import Path

import pytest
import torch

HIDDEN_DATA = Path(__file__).with_name('hidden_data')
# Processes that tests start are watched as well.
os.environ['PYTHONPATH'] = os.pathsep.join(
    filter(None, (str(HIDDEN_DATA), os.environ.get('PYTHONPATH')))
)
runpy.run_path(str(HIDDEN_DATA / 'sitecustomize.py'))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` are skipped, and said to be, without one."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker('gpu'):
            item.add_marker(pytest.mark.skip(reason='needs an accelerator'))
