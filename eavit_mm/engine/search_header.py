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

from eavit_mm.search.objectives import Objectives
from eavit_mm.space.latency import LatencyTable

VERSION = 1


def search_header(
    model: Any,
    table: LatencyTable | None,
    objectives: Objectives,
    batches: Iterable[Any],
    **settings: Any,
) -> dict[str, Any]:
    """The first line of a search's file, as plain values.

    Args:
        model: The supernet.
        table: Its latencies.
        objectives: What is minimised, within which limits.
        batches: As the pipeline made them, before the preprocessor.
        **settings: What else the results depend on.
    """
    return plain(
        dict(
            version=VERSION,
            space=model.backbone.space.to_config(),
            weights=digest(dict(sorted(model.state_dict().items()))),
            latency_table=table and table.times,
            metric=objectives.metric,
            rule=objectives.rule,
            metric_scale=objectives.scale,
            metric_worst=objectives.worst,
            objectives=objectives.names,
            constraints=objectives.limits,
            data=digest_of_data(model, batches),
            **settings,
        )
    )


def digest_of_data(model: Any, batches: Iterable[Any]) -> str:
    """A number of images and labels, the same on every device.

    The preprocessor's mean and the like count as well; paths and other notes
    about an image do not.
    """
    return digest(dict(model.data_preprocessor.named_buffers()), *batches)


def digest(*values: Any) -> str:
    """A number of tensors, arrays, and what holds them, with their names."""
    code = hashlib.sha256()
    for value in values:
        _add(code, value)
    return code.hexdigest()[:16]


def _add(code: Any, value: Any) -> None:
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
