"""The curve of a metric over the MACs, and its area."""

from collections.abc import Sequence

import numpy as np


def area_under_curve(
    macs_ratios: Sequence[float], metric: Sequence[float]
) -> float:
    """Area under a metric over MACs / MACs of the largest (EA-ViT's AUC).

    Trapezoids over the covered range only; it is not normalised, so methods
    are compared over a common range.

    Args:
        macs_ratios: In (0, 1], in any order. Of equal ones the best counts.
        metric: One value each; the paper takes accuracy in 0..1.

    Returns:
        The area; 0 for a single point.

    Raises:
        ValueError: If the lengths differ or nothing is given.
    """
    if len(macs_ratios) != len(metric) or not len(metric):
        raise ValueError(
            f'{len(macs_ratios)} ratios and {len(metric)} values; must be '
            'equally many, at least one'
        )
    best: dict[float, float] = {}
    for ratio, value in zip(macs_ratios, metric, strict=True):
        best[ratio] = max(value, best.get(ratio, value))
    ratios = sorted(best)
    return float(np.trapezoid([best[r] for r in ratios], ratios))
