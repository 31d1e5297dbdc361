"""ONNX and pt2 files against the exported network."""

import sys

import onnx
import onnxruntime
import pytest
import torch

from benchmarks.export_cases import (
    random_config,
    random_model,
    random_subnet,
)
from eavit_mm.analysis.latency import image_size
from eavit_mm.export.dense import dense_network
from eavit_mm.export.formats import (
    read_onnx,
    read_pt2,
    trace,
    write_onnx,
    write_pt2,
)

from .toys import exporter


# Seeds that bring every kind of operation: a graph takes seconds to make.
@pytest.mark.parametrize('seed', [2, 4, 6, 9, 12, 16])
def test_files_are_the_exported_network(seed, tmp_path):
    cfg = random_config(seed)
    model = random_model(cfg, seed)
    subnet = random_subnet(model.backbone.space, seed)
    dense = dense_network(model, cfg.model, subnet)
    size = image_size(model)
    program = trace(dense, size)
    write_pt2(program, tmp_path / 'model.pt2')
    write_onnx(program, tmp_path / 'model.onnx')
    assert len(list(tmp_path.iterdir())) == 2
    networks = (
        read_pt2(tmp_path / 'model.pt2'),
        read_onnx(tmp_path / 'model.onnx'),
    )
    rng = torch.Generator().manual_seed(2)
    for batch in (1, 2, 7):
        x = torch.randn(batch, *size, generator=rng)
        with torch.no_grad():
            expected = dense(x)
            for network in networks:
                found = network(x)
                assert found.shape == expected.shape
                assert len(found) == batch
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    graph = onnx.load(tmp_path / 'model.onnx')
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / 'model.onnx')
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ('images', ['batch', *size])
    assert (made.name, made.shape) == (
        'logits',
        ['batch', *expected.shape[1:]],
    )


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(
        ValueError,
        match=r'--format onnx needs the package onnxscript, which is not '
        r"installed: pip install 'eavit_mm\[export\]'",
    ):
        exporter(formats=['onnx'])
    exporter(formats=['pt2'])
