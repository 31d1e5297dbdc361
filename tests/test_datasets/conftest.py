"""Data sets are built in mmpretrain's scope."""

import gc
from collections.abc import Iterator

import pytest
from mmengine.registry import DefaultScope

import eavit_mm  # noqa: F401


@pytest.fixture(scope='package', autouse=True)
def _less_garbage() -> Iterator[None]:
    # Every data set of mmengine collects garbage when it is built; what the
    # imports left need not be looked through each time.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def scope() -> Iterator[None]:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield
