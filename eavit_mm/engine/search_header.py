"""What the evaluations of a search depend on."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils.data import DataLoader

from eavit_mm.search.objectives import Objectives
from eavit_mm.space.latency import LatencyTable


def header_of_model(model: Any, table: LatencyTable | None) -> dict[str, Any]:
    """The supernet that is searched, and its times."""
    return dict(
        space=model.backbone.space.to_config(),
        weights=digest(model),
        latency_table=table and plain(table.times),
    )


def header_of_data(
    model: Any, dataloader: DataLoader[Any], batches: Iterable[Any]
) -> dict[str, Any]:
    """What subnets are evaluated on; see :func:`digest_of_data`."""
    return dict(
        batch_size=dataloader.batch_size,
        images=len(dataloader.dataset),  # type: ignore[arg-type]
        data=digest_of_data(model, batches),
    )


def header_of_objectives(objectives: Objectives) -> dict[str, Any]:
    """What a search minimises, as plain values."""
    return dict(
        metric=objectives.metric,
        rule=objectives.rule,
        metric_scale=objectives.scale,
        metric_worst=objectives.worst,
        objectives=list(objectives.names),
        constraints={k: list(v) for k, v in objectives.limits.items()},
    )


def digest(model: torch.nn.Module) -> str:
    """A number of the weights: evaluations of others are of no use."""
    code = hashlib.sha256()
    _add(code, dict(sorted(model.state_dict().items())))
    return code.hexdigest()[:16]


def digest_of_data(model: Any, batches: Iterable[Any]) -> str:
    """A number of images and labels, the same on every device.

    Args:
        model: Its preprocessor's mean and the like count as well.
        batches: As the pipeline made them, before the preprocessor. Paths
            and other notes about an image do not count.
    """
    code = hashlib.sha256()
    _add(code, dict(model.data_preprocessor.named_buffers()))
    for batch in batches:
        _add(code, batch)
    return code.hexdigest()[:16]


def _add(code: Any, value: Any) -> None:
    """Takes in tensors, arrays, and what holds them, with their names."""
    if isinstance(value, BaseDataElement):
        value = dict(sorted(value.items()))
    if isinstance(value, Mapping):
        for name, part in value.items():
            code.update(str(name).encode())
            _add(code, part)
    elif isinstance(value, list | tuple):
        code.update(f'{len(value)} parts'.encode())
        for part in value:
            _add(code, part)
    elif isinstance(value, Tensor | np.ndarray):
        flat = torch.as_tensor(value).detach().cpu()
        code.update(f'{flat.dtype} {tuple(flat.shape)}'.encode())
        # In one dimension: a counter has none, and then no bytes to view.
        flat = flat.reshape(-1).contiguous()
        code.update(flat.view(torch.uint8).numpy().data)
    else:
        code.update(json.dumps(plain(value)).encode())


def plain_evaluator(evaluator: Any) -> Any:
    """The config of an evaluator; of a built one, the kinds of its metrics."""
    if isinstance(evaluator, Evaluator):
        evaluator = [type(metric) for metric in evaluator.metrics]
    return plain(evaluator)


def plain(value: Any) -> Any:
    """A config's value as JSON has it."""
    return json.loads(json.dumps(value, default=_plain_part))


def _plain_part(value: Any) -> Any:
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Set):
        return sorted(value, key=str)
    if isinstance(value, Iterable) and not isinstance(value, type):
        return list(value)
    # A class or function of a config; an object's address is never the same.
    kind = value if hasattr(value, '__qualname__') else type(value)
    return f'{kind.__module__}.{kind.__qualname__}'
