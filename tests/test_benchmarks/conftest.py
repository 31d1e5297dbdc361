import pytest

from benchmarks import dense_cases, speed_cases


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The speed benchmark's networks, small enough to run in no time."""
    arch = dict(
        embed_dims=64, num_layers=4, num_heads=4, feedforward_channels=128
    )
    space = dict(
        embed_dims=[16, 32, 48, 64],
        num_heads=[1, 2, 3, 4],
        feedforward_channels=[32, 64, 96, 128],
        max_off=4,
    )
    monkeypatch.setattr(speed_cases, 'ARCH', arch)
    monkeypatch.setattr(speed_cases, 'SPACE', space)
    for module in (speed_cases, dense_cases):
        monkeypatch.setattr(module, 'SIZE', 32)
