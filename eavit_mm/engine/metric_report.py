"""The numbers of an evaluator's report."""

from collections.abc import Mapping
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor


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
    if isinstance(value, Tensor | np.ndarray) and value.reshape(-1).shape == (
        1,
    ):
        value = value.item()
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return float(value) if is_number else None
