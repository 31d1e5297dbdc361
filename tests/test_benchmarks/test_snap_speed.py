"""The speed of SnapViT's parts: what is timed is what the tool does."""

import numpy as np
from toys import classifier, images

from benchmarks import snap_speed
from benchmarks.snap_speed import FRONT, SCORES, SEARCH

SPACE = dict(
    embed_dims=[24],
    num_heads=list(range(1, 7)),
    feedforward_channels=list(range(1, 21)),
)


def test_ratios_are_of_what_each_round_took() -> None:
    model = classifier(backbone=dict(space=SPACE)).eval()
    rows = snap_speed.measure(model, images(8).double(), 2, 2, 3)
    assert [row['what'] for row in rows] == [SCORES, SCORES, SEARCH, FRONT]
    assert all(row['seconds'] > 0 < row['floor'] for row in rows)
    assert all(p.grad is None for p in model.parameters())
    for row, spent in zip(rows, (1.0, 1.2, 0.9, 30.0), strict=True):
        row.update(seconds=2 * spent, floor=2.0)
    head = dict(device='a CPU', torch='2', commit='c', scored=2, rounds=2)
    text = snap_speed.page(dict(head, images=8, rows=rows))
    assert '| scores | 2.2 | 2 | 1.100 (1.050 to 1.150) | ≤ 1.3: met |' in text
    assert '| search | 1.8 | 2 | 0.900 | ≤ 0.6: **m' in text
    assert '| front | 60 | 2 | 30.000 |  |' in text


def test_the_floor_of_the_search_is_of_all_its_passes(monkeypatch) -> None:
    model = classifier(backbone=dict(space=SPACE)).eval()
    monkeypatch.setattr(
        snap_speed, 'seconds', lambda run, device: (run(), 3.0)[1]
    )
    rows = snap_speed.measure(model, images(6).double(), 2, 1, 5)
    # Five candidates at four sparsities, three seconds for six images each.
    assert np.isclose(rows[-2]['floor'], 5 * 4 * 3 / 6)
