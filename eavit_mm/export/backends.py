"""What runs a subnet where a latency table is of a deployed network."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from eavit_mm.analysis.latency import Timed
from eavit_mm.export.dense import dense_network
from eavit_mm.export.formats import (
    import_onnxruntime,
    read_onnx,
    trace,
    write_onnx,
)
from eavit_mm.registry import LATENCY_BACKENDS
from eavit_mm.space import Subnet


@LATENCY_BACKENDS.register_module(name='onnxruntime')
def run_onnx(
    model: Any, cfg: Mapping[str, Any], subnet: Subnet, images: Tensor
) -> Timed:
    """A subnet as ``tools/export.py --format onnx`` writes it, on the CPU.

    Raises:
        ValueError: If the model is on another device, or not in float32.
    """
    if images.device.type != 'cpu' or images.dtype != torch.float32:
        raise ValueError(
            f'--backend onnxruntime: {images.dtype} on {images.device}; must '
            'be float32 (--dtype) on the CPU (--device cpu)'
        )
    import_onnxruntime('--backend onnxruntime')
    folder = TemporaryDirectory()
    path = Path(folder.name, 'model.onnx')
    network = dense_network(model, cfg, subnet)
    write_onnx(trace(network, tuple(images.shape[1:])), path)
    loaded: list[Any] = []

    @contextmanager
    def load() -> Iterator[None]:
        # The file lives as long as this does. All networks of a space, loaded
        # at once, may not fit into memory.
        loaded[:] = [read_onnx(Path(folder.name, path.name))]
        yield
        loaded.clear()

    return load, lambda: loaded[0](images)
