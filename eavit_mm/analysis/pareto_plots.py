"""Figures of a search: the front, and what its networks look like."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from eavit_mm.analysis.plots import STYLES, save_figure
from eavit_mm.analysis.subnet_table import macs_unit
from eavit_mm.space.pareto import Member, ParetoFront


def plot_front(
    front: ParetoFront,
    evaluated: Sequence[Member],
    uniform: Sequence[Member],
    path: str | Path,
) -> Path:
    """Draws the front, every evaluated subnet, and the uniform ones.

    Args:
        front: What the search found.
        evaluated: All subnets it evaluated.
        uniform: Those of uniform width, as a reference.
        path: Ends in .png, .svg or .pdf; replaced in one step.
    """
    figure = Figure(figsize=(6.4, 4.0), layout='constrained')
    axes = figure.subplots()
    unit, name = macs_unit(max(member.macs for member in evaluated))
    layers: Any = (
        (evaluated, 'evaluated', dict(color='#bbbbbb', marker='.', ls='')),
        (uniform, 'uniform width', dict(color='#d55e00', marker='s', ls='--')),
        (front.members, 'front', dict(color='#0072b2', marker='o', ls='-')),
    )
    for members, label, style in layers:
        points = sorted(
            (m.macs / unit, m.metrics[front.metric]) for m in members
        )
        if points:
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, label=label, ms=4, **style)
    axes.set(xlabel=f'{name} per image', ylabel=front.metric)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(loc='lower right')
    return save_figure(figure, path)


def plot_anatomy(front: ParetoFront, path: str | Path) -> Path:
    """Draws widths per layer along the front; white branches are off.

    Args:
        front: What the search found.
        path: As for :func:`plot_front`.
    """
    largest = front.space.largest
    subnets = [member.subnet for member in front.members]
    figure = Figure(figsize=(6.4, 6.4), layout='constrained')
    top, *others = figure.subplots(3, 1, sharex=True, height_ratios=[1, 2, 2])
    top.step(range(len(subnets)), [s.embed_dims for s in subnets], where='mid')
    top.set(ylabel='embed_dims', ylim=(0, largest.embed_dims * 1.05))
    top.grid(alpha=0.3)
    for axes, axis in zip(
        others, ('num_heads', 'feedforward_channels'), strict=True
    ):
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
    unit, name = macs_unit(front.members[-1].macs)
    ticks = np.unique(np.linspace(0, len(subnets) - 1, 6).round().astype(int))
    others[-1].set_xticks(
        ticks, [f'{front.members[i].macs / unit:.3g}' for i in ticks]
    )
    others[-1].set_xlabel(f'members of the front ({name} per image)')
    return save_figure(figure, path)


def plot_hypervolume(
    curves: Mapping[str, Sequence[tuple[int, float]]], path: str | Path
) -> Path:
    """Draws hypervolume over evaluations, one curve per entry.

    Args:
        curves: Label to (evaluations, hypervolume) points, rising.
        path: As for :func:`plot_front`.
    """
    figure = Figure(figsize=(6.4, 4.0), layout='constrained')
    axes = figure.subplots()
    for (label, points), style in zip(
        curves.items(), STYLES * len(curves), strict=False
    ):
        numbers, volumes = zip(*points, strict=True)
        axes.plot(numbers, volumes, label=label, **{**style, 'marker': ''})
    axes.set(xlabel='evaluated subnets', ylabel='hypervolume')
    # The first few are far below and would flatten the rest.
    axes.set_ylim(
        bottom=min(points[len(points) // 20][1] for points in curves.values())
    )
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend(loc='lower right')
    return save_figure(figure, path)
