from collections.abc import Iterator

import pytest
from mmengine.logging import MessageHub

import eavit_mm  # noqa: F401  before mmseg, which needs its stand-in


@pytest.fixture
def run_seed() -> Iterator[None]:
    """Sets the seed of draws: mmengine's Runner leaves one of its own."""
    hub = MessageHub.get_current_instance()
    before = hub.get_info('seed')
    hub.update_info('seed', 5)
    yield
    hub.update_info('seed', before)
