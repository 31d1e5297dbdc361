"""What the evaluations of a search depend on."""

import hashlib
import json
from typing import Any

import torch


def digest(model: torch.nn.Module) -> str:
    """A number of the weights: evaluations of others are of no use."""
    code = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        code.update(name.encode())
        # In one dimension: a counter has none, and then no bytes to view.
        flat = value.cpu().reshape(-1).contiguous()
        code.update(flat.view(torch.uint8).numpy().data)
    return code.hexdigest()[:16]


def plain(value: Any) -> Any:
    """A config's value as JSON has it."""
    return json.loads(json.dumps(value, default=list))
