"""The networks of an exported front side by side: text and figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from eavit_mm.analysis.plots import save_figure
from eavit_mm.analysis.subnet_table import (
    cost_columns,
    cost_unit,
    text_table,
)
from eavit_mm.export.config import WEIGHTS
from eavit_mm.export.formats import GRAPHS


def front_row(
    name: str, metric: float, report: Mapping[str, Any]
) -> dict[str, Any]:
    """What the table says of a network, by its folder's ``report.json``."""
    latency = report['latency_ms']
    return dict(
        name=name,
        subnet=report['subnet'],
        macs=report['macs'],
        macs_ratio=report['macs'] / report['macs_of_largest'],
        macs_of_parts=report['macs_of_parts'],
        params=report['params'],
        bytes=report['bytes'][WEIGHTS],
        latency_ms=latency['exported'],
        latency_ratio=latency['exported'] / latency['largest'],
        **{f'{g}_ms': latency[g] for g in GRAPHS if g in latency},
        metric=metric,
        correction=report.get('correction'),
        latency_of=f'{latency["device"]}, {latency["dtype"]}, batch '
        f'{latency["batch_size"]}, {latency["threads"]} threads',
    )


def format_front(table: Mapping[str, Any]) -> str:
    """The rows as text, for terminals and files."""
    rows = table['networks']
    columns = {
        **cost_columns('network', rows),
        'MB': [f'{row["bytes"] / 1e6:.2f}' for row in rows],
        'ms': [f'{row["latency_ms"]:.3g}' for row in rows],
        '% ms': [f'{row["latency_ratio"]:.1%}' for row in rows],
        **{
            f'{name} ms': [f'{row[f"{name}_ms"]:.3g}' for row in rows]
            for name in GRAPHS
            if all(f'{name}_ms' in row for row in rows)
        },
        table['metric']: [f'{row["metric"]:.4g}' for row in rows],
    }
    measured = ' / '.join(sorted({row['latency_of'] for row in rows}))
    text = f'{text_table(columns)}\nms: {measured}; % of the largest'
    if any(row.get('correction') for row in rows):
        text += f'\n{table["metric"]}: before the correction'
    return text


def plot_table(table: Mapping[str, Any], path: str | Path) -> Path:
    """Draws the metric of ``table.json`` over each cost, in one figure."""
    rows: Sequence[Mapping[str, Any]] = table['networks']
    most = max(row['macs'] for row in rows)
    costs = (
        ('macs', *cost_unit('macs', most)),
        ('params', *cost_unit('params', most)),
        ('latency_ms', *cost_unit('latency', most)),
        ('bytes', 1e6, f'{WEIGHTS} (MB)'),
    )
    figure = Figure(figsize=(8.0, 6.0), layout='constrained')
    panels = figure.subplots(2, 2, sharey=True).flat
    for axes, (cost, scale, label) in zip(panels, costs, strict=True):
        points = sorted((row[cost] / scale, row['metric']) for row in rows)
        axes.plot(*zip(*points, strict=True), color='#0072b2', marker='o')
        axes.set(xlabel=label)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    figure.supylabel(table['metric'])
    return save_figure(figure, path)
