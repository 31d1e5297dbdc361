"""A network as a graph of torch.export, and its file."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from eavit_mm.files import write_atomically

# Images that the network is traced on; 1 would become a constant.
_BATCH = 2


class Logits(nn.Module):
    """A classifier with images as its only input.

    Args:
        model: mmpretrain's classifier.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        """Normalised images (B, channels, height, width) to logits."""
        return self.model(images, mode='tensor')


def trace(model: nn.Module, image_size: tuple[int, ...]) -> ExportedProgram:
    """The graph of a classifier, for any number of images.

    Args:
        model: In evaluation mode.
        image_size: (channels, height, width); fixed in the graph.
    """
    like = next(model.parameters())
    images = torch.zeros(
        _BATCH, *image_size, dtype=like.dtype, device=like.device
    )
    network = Logits(model).eval()
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
