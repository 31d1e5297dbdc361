"""The table of evaluated subnets: budget, cost, metrics, AUC."""

from collections.abc import Iterable, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from eavit_mm.files import plain

# Share of the MACs that leaves nothing to say of neck and head.
_MOST = 0.95


def area_under_curve(points: Iterable[tuple[float, float]]) -> float:
    """Area under a metric over MACs / MACs of the largest (EA-ViT's AUC).

    Trapezoids over the covered range only; it is not normalised, so methods
    are compared over a common range.

    Args:
        points: Ratios in (0, 1] and values of the metric, in any order; the
            paper takes accuracy in 0..1. Of equal ratios the best counts.

    Returns:
        The area; 0 for a single point.
    """
    best = dict(sorted(points))  # of equal ratios the last one stays
    return float(np.trapezoid([*best.values()], [*best]))


def subnet_row(
    name: str, model: Any, subnet: Any, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """What is known of one evaluated subnet, as it stands in JSON.

    Args:
        name: What the table calls the subnet.
        model: The elastic model.
        subnet: One of its subnets.
        metrics: As the evaluator reports them.
    """
    parts = model.macs(subnet)
    return dict(
        name=name,
        subnet=subnet.to_dict(),
        macs=parts['total'],
        macs_ratio=parts['total'] / model.macs()['total'],
        macs_of_parts=parts,
        params=model.params(subnet)['total'],
        metrics=plain(metrics),
    )


def macs_unit(largest: float) -> tuple[float, str]:
    """Factor and name of the unit that suits networks of a size."""
    return (1e9, 'GMACs') if largest >= 1e9 else (1e6, 'MMACs')


def cost_unit(cost: str, largest: float) -> tuple[float, str]:
    """Factor of a cost's unit, and what an axis of it says."""
    unit, name = macs_unit(largest)
    return dict(
        macs=(unit, f'{name} per image'),
        params=(1e6, 'million parameters'),
        latency=(1.0, 'latency (ms)'),
    )[cost]


def format_table(rows: Sequence[Mapping[str, Any]], title: str = '') -> str:
    """The rows as text; those with an ``error`` say it below the table."""
    lines = [row['error'] for row in rows if 'error' in row]
    rows = [row for row in rows if 'error' not in row]
    columns = cost_columns('subnet', rows)
    for metric in dict.fromkeys(m for row in rows for m in row['metrics']):
        values = [row['metrics'].get(metric) for row in rows]
        if any(isinstance(value, list | dict) for value in values):
            continue  # no table in a table: the JSON file has it
        columns[metric] = [
            f'{value:.2f}' if isinstance(value, int | float) else str(value)
            for value in (nan if value is None else value for value in values)
        ]
    # What rows of budgets have more: who answered, which share of the budget
    # is used, and by how much the front's answer is better.
    part = next((row['part'] for row in rows if 'part' in row), 'total')
    of = '' if part == 'total' else f' of {part}'
    more = (
        ('by', 'by', '{}'),
        ('used', f'% budget{of}', '{:.1%}'),
        ('regret', 'regret', '{:+.2f}'),
    )
    for name, header, form in more:
        if any(name in row for row in rows):
            columns[header] = [
                form.format(row[name]) if name in row else '' for row in rows
            ]
    return '\n'.join([text_table(columns, title), *lines])


def cost_columns(
    header: str, rows: Sequence[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Names, under a header, and costs of networks, for a table.

    Those of the parts too, unless the backbone has nearly all of them.
    """
    unit, unit_name = macs_unit(max(row['macs'] for row in rows))
    parts = [row.get('macs_of_parts', {}) for row in rows]
    shown: list[str] = []
    if any(p and p['backbone'] < _MOST * p['total'] for p in parts):
        names = [name for name, macs in parts[0].items() if macs]
        shown = [name for name in names if name != 'total']
    return {
        header: [row['name'] for row in rows],
        unit_name: [f'{row["macs"] / unit:.3f}' for row in rows],
        **{n: [f'{p[n] / unit:.3f}' for p in parts] for n in shown},
        '% MACs': [f'{row["macs_ratio"]:.1%}' for row in rows],
        'Mparams': [f'{row["params"] / 1e6:.3f}' for row in rows],
    }


def text_table(columns: Mapping[str, Sequence[str]], title: str = '') -> str:
    """Texts by column, all columns but the first to the right."""
    table = Table(title=title or None)
    for header in columns:
        table.add_column(header, justify='right' if table.columns else 'left')
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    console = Console(width=10_000)  # a number must not be cut off
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()
