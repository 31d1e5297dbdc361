"""What a search notes about what its evaluations depend on."""

import torch

from eavit_mm.engine.search_header import digest


def test_a_digest_takes_buffers_without_dimensions():
    norm = torch.nn.BatchNorm2d(3)  # it counts batches
    before = digest(norm)
    norm.num_batches_tracked += 1
    assert digest(norm) != before
