"""A traced network as an ONNX file, and running it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from eavit_mm.export.optional import require
from eavit_mm.files import write_atomically

# onnxscript makes the graph, onnx the file, onnxruntime checks it.
PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
INPUT, OUTPUT = 'images', 'logits'


def require_onnx() -> None:
    """Raises unless all packages for ONNX are there.

    Raises:
        ValueError: Names the one that is missing.
    """
    for name in PACKAGES:
        require(name, '--format onnx')


def write_onnx(program: ExportedProgram, path: str | Path) -> None:
    """Writes a graph as ONNX; input 'images', output 'logits'.

    Args:
        program: From :func:`eavit_mm.export.pt2.trace`.
        path: Of the file, which holds the weights too.

    Raises:
        ValueError: If a package for it is missing.
    """
    require_onnx()
    onnx_program = torch.onnx.export(
        program,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamo=True,
        verbose=False,
    )
    assert onnx_program is not None
    model = onnx_program.model_proto
    _name_batch(model)
    write_atomically(model.SerializeToString(), path)


def _name_batch(model: Any) -> None:
    """Calls the first axis of input and output 'batch', for readers."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = 'batch'


def read_onnx(path: str | Path) -> Callable[[Tensor], Tensor]:
    """The network in an ONNX file, run by onnxruntime on the CPU.

    Raises:
        ValueError: If onnxruntime is missing.
    """
    runtime = require('onnxruntime', '--format onnx')
    session = runtime.InferenceSession(
        str(path), providers=['CPUExecutionProvider']
    )

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: images.cpu().numpy()})
        return torch.from_numpy(logits)

    return run
