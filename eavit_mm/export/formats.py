"""A network as a graph of torch.export, and its files: pt2 and ONNX."""

import json
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from eavit_mm.files import write_atomically

INPUT, OUTPUT = 'images', 'logits'
# Versions of ONNX's operators that onnxruntime quantizes. What torch's
# exporter is asked for below 18, it silently leaves at 18: the exporter
# before it writes these.
OPSETS, OPSET, _OLDEST_NEW = tuple(range(14, 23)), 20, 18
# onnxscript makes the graph, onnx the file, onnxruntime checks it.
_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')


def trace(network: nn.Module, image_size: tuple[int, ...]) -> ExportedProgram:
    """The graph of a network, for any number of images.

    Args:
        network: In evaluation mode; takes normalised images.
        image_size: (channels, height, width); fixed in the graph.
    """
    # A batch of 1 would become a constant of the graph.
    images = next(network.parameters()).new_zeros(2, *image_size)
    shapes = ({0: Dim('batch')},)
    return torch.export.export(network, (images,), dynamic_shapes=shapes)


def write_pt2(program: ExportedProgram, path: str | Path) -> None:
    """Writes a graph for :func:`torch.export.load`."""
    buffer = BytesIO()
    torch.export.save(program, buffer)
    write_atomically(buffer.getvalue(), path)


def read_pt2(path: str | Path) -> Callable[[Tensor], Any]:
    """The network in a file of :func:`write_pt2`."""
    return torch.export.load(str(path)).module()


def import_onnxruntime(asked_by: str = '--format onnx') -> Any:
    """Imports what an ONNX file needs to be written and run.

    Raises:
        ValueError: If a package is missing; names it, the option that asks
            for it, and how to install it.
    """
    for name in _PACKAGES:
        try:
            module = import_module(name)
        except ModuleNotFoundError as error:
            raise ValueError(
                f'{asked_by} needs the package {error.name}, which is not '
                f'installed: pip install {" ".join(_PACKAGES)}'
            ) from error
    return module


def write_onnx(
    program: ExportedProgram,
    path: str | Path,
    about: Mapping[str, Any] | None = None,
    opset: int = OPSET,
    network: nn.Module | None = None,
) -> None:
    """Writes a graph and its weights as ONNX; 'images' in, 'logits' out.

    Args:
        program: The graph.
        path: The file.
        about: Becomes ``metadata_props``, each value as JSON.
        opset: Version of ONNX's operators, one of :data:`OPSETS`.
        network: What the graph is of; torch's older exporter reads no graph.
    """
    from onnx import helper, load_from_string

    names = dict(input_names=[INPUT], output_names=[OUTPUT])
    options: Any = dict(names, opset_version=opset, verbose=False)
    if opset < _OLDEST_NEW:
        assert network is not None
        assert program.example_inputs is not None
        images, _ = program.example_inputs
        buffer: Any = BytesIO()  # which torch takes, other than its types say
        with warnings.catch_warnings():  # that it is old, and fixes sizes
            warnings.simplefilter('ignore')
            options.update(dynamo=False, dynamic_axes={INPUT: {0: 'batch'}})
            torch.onnx.export(network, images, buffer, **options)
        model = load_from_string(buffer.getvalue())
    else:
        exported: Any = torch.onnx.export(program, dynamo=True, **options)
        model = exported.model_proto
    graph = model.graph
    # Old runtimes refuse a file of a newer form than they know.
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    # Whoever reads the graph sees what its first axis is.
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = 'batch'
    # A quantized weight has another shape than is noted for it.
    weights = {weight.name for weight in graph.initializer}
    notes = [note for note in graph.value_info if note.name not in weights]
    del graph.value_info[:]
    graph.value_info.extend(notes)
    # Traces of torch's exporter, with the folders of this machine.
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info):
        del part.metadata_props[:]
    texts = {key: json.dumps(value) for key, value in (about or {}).items()}
    helper.set_model_props(model, texts)
    write_atomically(model.SerializeToString(), path)


def read_onnx(path: str | Path) -> Callable[[Tensor], Tensor]:
    """The network in an ONNX file, run by onnxruntime on the CPU.

    On as many threads as torch.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        str(path), options, providers=['CPUExecutionProvider']
    )

    def run(images: Tensor) -> Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: images.cpu().numpy()})
        return torch.from_numpy(logits)

    return run


# Format to how its file is written and read.
GRAPHS = {'onnx': (write_onnx, read_onnx), 'pt2': (write_pt2, read_pt2)}
