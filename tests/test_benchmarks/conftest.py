import pytest

from benchmarks.gpu.timing import TINY
from benchmarks.speed_cases import Setting


@pytest.fixture
def tiny() -> Setting:
    """The speed benchmark's networks, small enough to run in no time."""
    return Setting(1, 'cpu', TINY)
