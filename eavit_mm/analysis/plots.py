"""Figures; drawn without a display."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from eavit_mm.analysis.subnet_table import macs_unit
from eavit_mm.files import write_atomically

# Distinguishable without colour vision, and in black and white by marker.
STYLES: tuple[dict[str, Any], ...] = (
    dict(color='#0072b2', marker='o'),
    dict(color='#d55e00', marker='s', linestyle='--'),
    dict(color='#009e73', marker='^', linestyle='-.'),
    dict(color='#cc79a7', marker='D', linestyle=':'),
    dict(color='#e69f00', marker='v'),
    dict(color='#56b4e9', marker='P', linestyle='--'),
    dict(color='#000000', marker='X', linestyle='-.'),
    dict(color='#999999', marker='*', linestyle=':'),
)


def plot_metric_over_macs(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    path: str | Path,
    metric: str,
    title: str = '',
) -> Path:
    """Draws one curve per entry and writes a picture.

    Args:
        curves: Label to (MACs, metric) points, MACs of one image.
        path: Ends in .png, .svg or .pdf; replaced in one step.
        metric: Name on the vertical axis.
        title: Above the picture.

    Returns:
        The path.
    """
    figure = Figure(figsize=(6.4, 4.0), layout='constrained')
    axes = figure.subplots()
    unit, name = macs_unit(
        max(macs for points in curves.values() for macs, _ in points)
    )
    for (label, points), style in zip(
        curves.items(), STYLES * len(curves), strict=False
    ):
        macs, values = zip(*sorted(points), strict=True)
        axes.plot([m / unit for m in macs], values, label=label, **style)
    axes.set(xlabel=f'{name} per image', ylabel=metric, title=title)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(loc='lower right')
    return save_figure(figure, path)


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Writes a figure in one step; returns the path."""
    picture = BytesIO()
    figure.savefig(picture, dpi=150, format=Path(path).suffix[1:])
    write_atomically(picture.getvalue(), path)
    return Path(path)
