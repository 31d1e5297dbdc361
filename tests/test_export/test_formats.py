"""ONNX and pt2 files against the exported network."""

import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import quantize_dynamic

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
# At last one with narrow heads, a suffix.
@pytest.mark.parametrize(
    ('seed', 'opset'),
    [(2, 20), (4, 14), (6, 22), (9, 15), (12, 18), (16, 17), (11, 20)],
)
def test_files_are_the_exported_network(seed, opset, tmp_path):
    is_scala = seed == 11
    cfg = random_config(seed, scala=is_scala)
    model = random_model(cfg, seed)
    subnet = random_subnet(model.backbone.space, seed)
    if is_scala:
        subnet = model.backbone.space.restrict(max_off=0).smallest
        assert subnet.side == 'suffix'
        assert subnet.head_dims < model.backbone.geometry.head_dims
    dense = dense_network(model, cfg.model, subnet)
    size = image_size(model)
    program = trace(dense, size)
    write_pt2(program, tmp_path / 'model.pt2')
    write_onnx(program, tmp_path / 'model.onnx', None, opset, dense)
    assert len(list(tmp_path.iterdir())) == 2
    networks = (
        read_pt2(tmp_path / 'model.pt2'),
        read_onnx(tmp_path / 'model.onnx'),
    )
    quantize_dynamic(tmp_path / 'model.onnx', tmp_path / 'int8.onnx')
    int8 = read_onnx(tmp_path / 'int8.onnx')
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
        scale = expected.abs().max().item()
        assert 0 < (int8(x) - expected).abs().max() < 0.2 * scale
    graph = onnx.load(tmp_path / 'model.onnx')
    # No folder of this machine.
    root = str(Path(__file__).parents[2])
    assert root.encode() not in graph.SerializeToString()
    onnx.checker.check_model(graph, full_check=True)
    assert [v.version for v in graph.opset_import] == [opset]
    form = {14: 7, 15: 8, 17: 8, 18: 8, 20: 9}
    assert graph.ir_version == form.get(opset, 10)
    operators = {node.op_type for node in graph.graph.node}
    assert ('Gelu' in operators) <= (opset >= 20)
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
        'installed: pip install onnx onnxscript onnxruntime',
    ):
        exporter(formats=['onnx'])
    exporter(formats=['pt2'])


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match=r"format='tflite'; must be one of"):
        exporter(formats=['tflite'])
    for opset in (13, 23, None, '20'):
        with pytest.raises(ValueError, match=r'opset=.*; must be one of'):
            exporter(formats=['onnx'], opset=opset)
