"""The benchmark of latency tables: a measurement."""

import torch

from benchmarks import latency

torch.set_num_threads(1)


def test_a_measurement() -> None:
    row = latency.measure('ViT-mini', 1, rounds=1, num=3, device='cpu')
    assert row['error'] > 0
    assert row['own_error'] > 0
    assert row['drift'] > -1
    assert row['worst'] >= row['error'] >= abs(row['bias'])
    assert -1 <= row['kendall_tau'] <= 1
