"""The exported network is what a latency of onnxruntime is of."""

import pytest
import torch

from eavit_mm.analysis.latency import measure
from eavit_mm.export import formats
from eavit_mm.export.backends import run_onnx

from .toys import config, member, supernet


def test_the_exported_network_is_measured(monkeypatch):
    cfg, subnet = config(), member()
    model = supernet(cfg)
    model._config = cfg
    images = torch.randn(2, 3, 8, 12)
    around, run = run_onnx(model, subnet, images)
    for _ in range(2):  # rounds
        with around():
            found = run()
    with torch.no_grad(), model.backbone.use(subnet):
        torch.testing.assert_close(found, model(images), rtol=0, atol=1e-5)
    # All that a table measures, of widths and depths no space may offer.
    written = []
    monkeypatch.setattr(
        formats, 'write_onnx', lambda network, *args: written.append(network)
    )
    monkeypatch.setattr(formats, 'read_onnx', lambda path: len)
    off = member(8, (0, 0), (0, 0))
    found = measure(model, [off], 2, 1, 'float32', 'onnxruntime')
    assert len(written) == len(found) == 1
    with pytest.raises(ValueError, match='torch.float64 on cpu; must be fl'):
        run_onnx(model, subnet, images.double())
