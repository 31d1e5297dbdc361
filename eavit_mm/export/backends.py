"""What runs a subnet where a latency table is of deployed networks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from eavit_mm.analysis.latency import Timed
from eavit_mm.export import formats
from eavit_mm.export.dense import dense_network
from eavit_mm.registry import LATENCY_BACKENDS
from eavit_mm.space import Subnet


@LATENCY_BACKENDS.register_module(name='onnxruntime')
def run_onnx(model: Any, subnet: Subnet, images: Tensor) -> Timed:
    """A subnet as ``tools/export.py --format onnx`` writes it.

    Raises:
        ValueError: If the model is not in float32 on the CPU.
    """
    if images.device.type != 'cpu' or images.dtype != torch.float32:
        raise ValueError(
            f'--backend onnxruntime: {images.dtype} on {images.device}; must '
            'be float32 (--dtype) on the CPU (--device cpu)'
        )
    formats.import_onnxruntime('--backend onnxruntime')
    folder = TemporaryDirectory()
    network = dense_network(model, model._config.model, subnet)
    program = formats.trace(network, tuple(images.shape[1:]))
    formats.write_onnx(program, Path(folder.name, 'model.onnx'))
    loaded: list[Any] = []

    @contextmanager
    def load() -> Iterator[None]:
        # All networks of a space may not fit into memory at once.
        loaded[:] = [formats.read_onnx(Path(folder.name, 'model.onnx'))]
        yield
        loaded.clear()

    return load, lambda: loaded[0](images)
