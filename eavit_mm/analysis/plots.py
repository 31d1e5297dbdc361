"""Figures; drawn without a display."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from eavit_mm.analysis.subnet_table import cost_unit
from eavit_mm.files import write_atomically
from eavit_mm.space.cells import BRANCHES
from eavit_mm.space.pareto import Member, ParetoFront

Styles = Sequence[Mapping[str, Any]]
# Distinguishable without colour vision, and in black and white by marker.
STYLES: Styles = (
    dict(color='#0072b2', marker='o'),
    dict(color='#d55e00', marker='s', linestyle='--'),
    dict(color='#009e73', marker='^', linestyle='-.'),
    dict(color='#cc79a7', marker='D', linestyle=':'),
    dict(color='#e69f00', marker='v'),
    dict(color='#56b4e9', marker='P', linestyle='--'),
    dict(color='#000000', marker='X', linestyle='-.'),
    dict(color='#999999', marker='*', linestyle=':'),
    dict(color='#882255', marker='p'),
)
_LEGEND_INSIDE = 7  # curves; of more a legend would lie on them
_FRONT_STYLES: Styles = (
    dict(color='#bbbbbb', marker='.', linestyle='', markersize=4),
    dict(color='#d55e00', marker='s', linestyle='--', markersize=4),
    dict(color='#0072b2', marker='o', markersize=4),
)
# Label to points, each an x and a y, and a spread of y if it is known.
Curves = Mapping[str, Sequence[tuple[float, ...]]]


def plot_metric_over_macs(
    curves: Curves,
    path: str | Path,
    metric: str,
    title: str = '',
    styles: Styles = STYLES,
) -> Path:
    """Draws one curve per entry and writes a picture.

    Args:
        curves: Label to (MACs, metric) points, MACs of one image; or
            (MACs, metric, spread).
        path: Ends in .png, .svg or .pdf; replaced in one step, and returned.
        metric: Name on the vertical axis.
        title: Above the picture.
        styles: How the curves look, one after the other.
    """
    return _plot_over_costs({'macs': curves}, path, metric, title, styles)


def plot_front(
    front: ParetoFront,
    evaluated: Sequence[Member],
    uniform: Sequence[Member],
    path: str | Path,
) -> Path:
    """Draws the front, every evaluated subnet, and those of uniform width.

    Over each cost that the search was about, side by side.
    """
    metric, found = front.metric, front.members
    labels = ('evaluated', 'uniform width', 'front')
    members = dict(zip(labels, (evaluated, uniform, found), strict=True))
    panels = {
        cost: {
            label: [(m.cost(cost), m.metrics[metric]) for m in some]
            for label, some in members.items()
        }
        for cost in front.costs
    }
    return _plot_over_costs(panels, path, metric, '', _FRONT_STYLES)


def _plot_over_costs(
    panels: Mapping[str, Curves],
    path: str | Path,
    metric: str,
    title: str,
    styles: Styles,
) -> Path:
    """Draws curves over each cost, in its unit, from the cheapest on."""
    figure, axes = _figure(len(panels))
    for one, (cost, curves) in zip(axes, panels.items(), strict=True):
        costs = [x for points in curves.values() for x, *_ in points]
        unit, name = cost_unit(cost, max(costs))
        shown = {
            label: [(x / unit, *rest) for x, *rest in sorted(points)]
            for label, points in curves.items()
        }
        _draw(one, shown, styles)
        one.set(xlabel=name, title=title)
        one.set_xlim(left=0)
    axes[0].set(ylabel=metric)
    if len(axes[-1].get_legend_handles_labels()[1]) > _LEGEND_INSIDE:
        axes[-1].legend(loc='upper left', bbox_to_anchor=(1, 1))
    else:
        axes[-1].legend(loc='lower right')
    return save_figure(figure, path)


def plot_hypervolume(
    curves: Curves, path: str | Path, label: str = 'evaluated subnets'
) -> Path:
    """Draws hypervolume over evaluations, rising, one curve per entry."""
    figure, (axes,) = _figure()
    _draw(axes, curves, [{**s, 'marker': ''} for s in STYLES])
    axes.set(xlabel=label, ylabel='hypervolume')
    # The first few are far below and would flatten the rest.
    starts = [points[len(points) // 20][1] for points in curves.values()]
    axes.set_ylim(bottom=min(starts))
    if len(curves) > 1:
        axes.legend(loc='lower right')
    return save_figure(figure, path)


def plot_anatomy(front: ParetoFront, path: str | Path) -> Path:
    """Draws widths per layer along the front; white branches are off.

    Members stand in the order of the first cost that the search was about.
    """
    largest = front.space.largest
    cost, *_ = front.costs
    members = sorted(front.members, key=lambda member: member.cost(cost))
    subnets = [member.subnet for member in members]
    figure = Figure(figsize=(6.4, 6.4), layout='constrained')
    top, *others = figure.subplots(3, 1, sharex=True, height_ratios=[1, 2, 2])
    top.step(range(len(subnets)), [s.embed_dims for s in subnets], where='mid')
    top.set(ylabel='embed_dims', ylim=(0, largest.embed_dims * 1.05))
    top.grid(alpha=0.3)
    for axes, axis in zip(others, BRANCHES, strict=True):
        widths = np.array([getattr(s, axis) for s in subnets], dtype=float).T
        shares = widths / np.array(getattr(largest, axis))[:, None]
        image = axes.imshow(
            np.where(shares > 0, shares, np.nan),
            aspect='auto',
            origin='lower',
            cmap='viridis',
            vmin=0,
            vmax=1,
        )
        axes.set(ylabel=f'{axis}\nlayer')
        figure.colorbar(image, ax=axes, label='share of the largest')
    unit, name = cost_unit(cost, members[-1].cost(cost))
    ticks = np.unique(np.linspace(0, len(subnets) - 1, 6).round().astype(int))
    others[-1].set_xticks(
        ticks, [f'{members[i].cost(cost) / unit:.3g}' for i in ticks]
    )
    others[-1].set_xlabel(f'members of the front, by {name}')
    return save_figure(figure, path)


def plot_segmentation(
    images: Sequence[Any],
    masks: Mapping[str, Sequence[Any]],
    classes: Mapping[str, Sequence[int]],
    path: str | Path,
    title: str = '',
) -> Path:
    """Draws images and their masks, a row for each image.

    Args:
        images: Each (height, width) or (height, width, 3), of bytes.
        masks: Name of a column to the classes of the pixels of each image,
            (height, width); a number without a class, as 255, is white.
        classes: Names to colours (red, green, blue) of 0 to 255, in order.
        path: As in :func:`plot_metric_over_macs`.
        title: Above the picture.
    """
    colours = np.full((256, 3), 255, np.uint8)
    colours[: len(classes)] = list(classes.values())
    coloured = {k: [colours[mask] for mask in v] for k, v in masks.items()}
    columns = {'input': images, **coloured}
    size = (1.5 * len(columns), 1.5 * len(images) + 1)
    figure = Figure(figsize=size, layout='constrained')
    grid = figure.subplots(len(images), len(columns), squeeze=False)
    for column, (name, shown) in zip(grid.T, columns.items(), strict=True):
        column[0].set_title(name)
        for axes, image in zip(column, shown, strict=True):
            axes.imshow(image, cmap='gray', vmin=0, vmax=255)
            axes.set_axis_off()
    patches = [
        Patch(facecolor=colours[i] / 255, edgecolor='0.5', label=name)
        for i, name in enumerate(classes)
    ]
    # A letter is about 0.09 inches wide, a patch and its gaps 0.6.
    widest = 0.6 + 0.09 * max(map(len, classes))
    figure.legend(
        handles=patches,
        ncols=max(1, int(size[0] / widest)),
        loc='outside lower center',
        frameon=False,
    )
    figure.suptitle(title)
    return save_figure(figure, path)


def _figure(panels: int = 1) -> tuple[Figure, Any]:
    """A figure and its axes, side by side."""
    figure = Figure(figsize=(2.2 + 4.2 * panels, 4.0), layout='constrained')
    return figure, figure.subplots(1, panels, sharey=True, squeeze=False)[0]


def _draw(axes: Any, curves: Curves, styles: Styles) -> None:
    """Draws a line for each curve that has points."""
    axes.grid(alpha=0.3)
    pairs = zip(curves.items(), cycle(styles), strict=False)
    for (label, points), style in pairs:
        if points:
            x, y, *spread = zip(*points, strict=True)
            axes.plot(x, y, label=label, **style)
            if spread:
                bars = dict(fmt='none', ecolor=style['color'], capsize=3)
                axes.errorbar(x, y, *spread, **bars)


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Writes a figure in one step; returns the path."""
    picture = BytesIO()
    figure.savefig(picture, dpi=150, format=Path(path).suffix[1:])
    write_atomically(picture.getvalue(), path)
    return Path(path)
