"""The networks of an exported front side by side: text and figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from eavit_mm.analysis.plots import save_figure
from eavit_mm.analysis.subnet_table import macs_unit
from eavit_mm.export.config import WEIGHTS


def front_row(
    name: str, metric: float, report: Mapping[str, Any]
) -> dict[str, Any]:
    """What the table says of a network.

    Args:
        name: The name of its folder.
        metric: Its metric on the held-out data.
        report: What ``report.json`` in the folder says.
    """
    latency = report['latency_ms']
    return dict(
        name=name,
        subnet=report['subnet'],
        macs=report['macs'],
        macs_ratio=report['macs'] / report['macs_of_largest'],
        params=report['params'],
        bytes=report['bytes'][WEIGHTS],
        latency_ms=latency['exported'],
        latency_ratio=latency['exported'] / latency['largest'],
        metric=metric,
        latency_of=f'{latency["device"]}, {latency["dtype"]}, batch '
        f'{latency["batch_size"]}, {latency["threads"]} threads',
    )


def format_front(table: Mapping[str, Any], width: int = 100) -> str:
    """The rows as text, for terminals and files."""
    rows = table['networks']
    unit, unit_name = macs_unit(max(row['macs'] for row in rows))
    columns = {
        unit_name: [f'{row["macs"] / unit:.3f}' for row in rows],
        '% MACs': [f'{row["macs_ratio"]:.1%}' for row in rows],
        'Mparams': [f'{row["params"] / 1e6:.3f}' for row in rows],
        'MB': [f'{row["bytes"] / 1e6:.2f}' for row in rows],
        'ms': [f'{row["latency_ms"]:.3g}' for row in rows],
        '% ms': [f'{row["latency_ratio"]:.1%}' for row in rows],
        table['metric']: [f'{row["metric"]:.4g}' for row in rows],
    }
    text = Table('network')
    for header in columns:
        text.add_column(header, justify='right')
    names = [row['name'] for row in rows]
    for texts in zip(names, *columns.values(), strict=True):
        text.add_row(*texts)
    console = Console(width=width)
    with console.capture() as capture:
        console.print(text)
    measured = ' / '.join(sorted({row['latency_of'] for row in rows}))
    return f'{capture.get().rstrip()}\nms: {measured}; % of the largest'


def plot_table(table: Mapping[str, Any], path: str | Path) -> Path:
    """Draws the metric over each cost.

    Args:
        table: What ``table.json`` says.
        path: Ends in .png, .svg or .pdf; replaced in one step.
    """
    rows: Sequence[Mapping[str, Any]] = table['networks']
    unit, unit_name = macs_unit(max(row['macs'] for row in rows))
    costs = (
        ('macs', unit, f'{unit_name} per image'),
        ('params', 1e6, 'million parameters'),
        ('latency_ms', 1.0, 'latency (ms)'),
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
