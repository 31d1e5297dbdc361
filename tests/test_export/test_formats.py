"""ONNX and pt2 files against the exported network."""

import sys

import onnx
import onnxruntime
import pytest
import torch

from eavit_mm.export.certificate import image_size
from eavit_mm.export.dense import dense_classifier
from eavit_mm.export.formats import (
    read_onnx,
    read_pt2,
    trace,
    write_onnx,
    write_pt2,
)

from .toys import CASES, config, exporter, supernet


# One of every kind of operation: a graph takes seconds to make.
@pytest.mark.parametrize(
    'name',
    [
        'cls_token',
        'pool_behind_norm',
        'map',
        'swiglu',
        'overlapping',
        'all_off',
    ],
)
def test_files_are_the_exported_network(name, tmp_path):
    cfg, subnet = config(name), CASES[name][2]
    model = supernet(cfg)
    dense = dense_classifier(model, cfg.model, subnet)
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
                assert found.shape == expected.shape == (batch, 9)
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    if name != 'cls_token':
        return
    graph = onnx.load(tmp_path / 'model.onnx')
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / 'model.onnx')
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ('images', ['batch', 3, 8, 12])
    assert (made.name, made.shape) == ('logits', ['batch', 9])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(
        ValueError,
        match=r'--format onnx needs the package onnxscript, which is not '
        r"installed: pip install 'eavit_mm\[export\]'",
    ):
        exporter(formats=['onnx'])
    exporter(formats=['pt2'])
