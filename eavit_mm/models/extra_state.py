"""Plain values in a state dict: all of a checkpoint are tensors."""

import json
from typing import Any

import torch
from torch import Tensor


def packed(values: Any) -> Tensor:
    """JSON as bytes, (length)."""
    text = json.dumps(values).encode()
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


def unpacked(state: Tensor) -> Any:
    """The inverse.

    Raises:
        ValueError: If it is no JSON.
    """
    return json.loads(bytes(state.cpu().tolist()))
