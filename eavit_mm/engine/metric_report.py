"""What an evaluator reports, and the numbers in it."""

from collections.abc import Mapping
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np
from mmengine.evaluator import Evaluator
from torch import Tensor


def report_of(evaluator: Evaluator, size: int) -> dict[str, Any]:
    """``Evaluator.evaluate`` of this process alone.

    mmengine's gathers the results of all ranks; in a search each rank has
    another subnet.

    Args:
        evaluator: Has processed all data; is left empty.
        size: How many samples there are; what is beyond was padded.

    Raises:
        ValueError: If two metrics report under one name.
    """
    found: dict[str, Any] = {}
    for metric in evaluator.metrics:
        values = metric.compute_metrics(metric.results[:size])
        metric.results.clear()
        prefix = f'{metric.prefix}/' if metric.prefix else ''
        values = {f'{prefix}{name}': value for name, value in values.items()}
        twice = sorted(found.keys() & values.keys())
        if twice:
            raise ValueError(
                f'two metrics of the evaluator report {twice[0]!r}: give one '
                'of them another prefix'
            )
        found.update(values)
    return found


def numbers_of(report: Mapping[str, Any], metric: str) -> dict[str, float]:
    """What of a report a search keeps: its finite numbers.

    Args:
        report: May hold anything: numbers of any library, tensors of one
            element, and what is left out, such as a confusion matrix, a list
            per class, or the NaN of a class without images.
        metric: Name of the number that is searched for.

    Raises:
        ValueError: If there is no such number; names those there are.
        FloatingPointError: If it is not finite.
    """
    numbers = {
        name: number
        for name, value in report.items()
        if (number := _number(value)) is not None
    }
    if metric not in numbers:
        found = ''
        if metric in report:
            kind = type(report[metric]).__name__
            found = f'what is reported there is no number but a {kind}; '
        raise ValueError(
            f'metric={metric!r}: {found}the evaluator reports the numbers '
            f'{list(numbers)}'
        )
    if not isfinite(numbers[metric]):
        raise FloatingPointError(
            f'{metric}={numbers[metric]}: are there NaN weights in the '
            'checkpoint?'
        )
    return {name: n for name, n in numbers.items() if isfinite(n)}


def _number(value: Any) -> float | None:
    """A value as a float; None if it is not one number."""
    if isinstance(value, Tensor | np.ndarray) and np.prod(value.shape) == 1:
        value = value.item()
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return float(value) if is_number else None
