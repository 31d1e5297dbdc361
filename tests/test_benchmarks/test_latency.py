"""The benchmark of latency tables: a measurement and its page."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import latency

torch.set_num_threads(1)


@pytest.mark.parametrize('name', ['ViT-mini'])
def test_a_measurement_and_its_page(name: str, tmp_path: Path) -> None:
    row = latency.measure(name, batch_size=1, rounds=1, num=3, device='cpu')
    assert row['error'] > 0
    assert row['own_error'] > 0
    assert row['drift'] > -1
    assert row['worst'] >= row['error'] >= abs(row['bias'])
    assert -1 <= row['kendall_tau'] <= 1
    result = dict(device='toy', torch='9', commit='abc', rows=[row])
    (tmp_path / 'latency_cpu.json').write_text(json.dumps(result))
    latency.write_page(tmp_path)
    text = (tmp_path / 'latency.md').read_text()
    assert f'| toy | {name} | 1 | 1 | 3 | {row["error"]:.1%} |' in text
    assert text.rstrip().endswith('| abc |')


def test_networks_have_configs() -> None:
    for path in latency.CONFIGS.values():
        assert (latency.ROOT / path).exists()
