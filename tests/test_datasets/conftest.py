"""Data sets are built in mmpretrain's scope."""

from collections.abc import Iterator

import pytest
from mmengine.registry import DefaultScope

import eavit_mm  # noqa: F401


@pytest.fixture(autouse=True)
def scope() -> Iterator[None]:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield
