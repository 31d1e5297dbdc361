"""The benchmark of cuts without training: its arms, records and verdicts."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import assert_same_weights, classifier, images, snapshot

from benchmarks import snap, snap_report

SPACE = dict(
    embed_dims=[24],
    num_heads=list(range(1, 7)),
    feedforward_channels=list(range(1, 21)),
)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stands for the ViT-Ti; drawn images stand for the sets."""
    toy = classifier(backbone=dict(space=SPACE)).eval()

    def read(*args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return images(12, seed=args[4]).double(), torch.arange(12) % 3

    monkeypatch.setattr(snap, 'build', lambda folder: toy)
    monkeypatch.setattr(snap, 'read_images', read)
    monkeypatch.setattr(snap, 'RECORDS', tmp_path / 'snap.json')
    monkeypatch.setattr(snap, 'EVALUATIONS', 3)
    monkeypatch.setattr(snap, 'K', 3)
    return toy


def test_arms_are_measured_once_and_shown(model: Any, tmp_path: Path) -> None:
    before = snapshot(model)
    for seed in (0, 1):
        for _ in range(2):
            snap.measure('dtd10', seed, tmp_path)
    assert_same_weights(model, before)
    records = json.loads(snap.RECORDS.read_text())
    assert len(records) == 2 * len((snap.DENSE, *snap.ARMS))
    for record in records:
        if record['method'] != snap.DENSE:
            # Of 6 heads and 20 neurons, each 24 wide, and their products.
            assert record['kept'] == sorted(record['kept'], reverse=True)
            assert len(record['cut']) == len(record['corrected']) == 3
    text = snap_report.write_page(records, tmp_path).read_text()
    assert (tmp_path / 'snap.png').exists()
    for arm in snap.ARMS:
        assert f'| {arm} (2) |' in text


def test_shares_are_of_the_blocks_alone(model: Any) -> None:
    space = model.backbone.space
    whole = snap.block_macs(model)
    without = model.macs(space.largest)['backbone'] - whole
    # 2 x 3 patches, each a row of the first map times its weight.
    first = model.backbone.patch_embed.projection.weight
    assert without == 6 * first.numel()
    assert whole > snap.block_macs(model, space.uniform(0)) > 0


def test_a_difference_counts_beyond_its_spread() -> None:
    points = [[2.0, 4.0], [1.0, 5.0], [3.0, -3.0], [-1.0, -1.5]]
    # Means 3, 3, 0 and -1.25; spreads 1.4, 2.8, 4.2 and 0.4.
    assert snap_report.verdict(points) == ['1.2 ± 0.1', '2 of 4', '1 of 4']
