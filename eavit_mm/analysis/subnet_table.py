"""The table of evaluated subnets: budget, cost, metrics, AUC."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from eavit_mm.analysis.curve import area_under_curve


def subnet_row(
    name: str, model: Any, subnet: Any, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """What is known of one evaluated subnet, as it stands in JSON.

    Args:
        name: What the table calls the subnet.
        model: The elastic model.
        subnet: A :class:`eavit_mm.space.Subnet`.
        metrics: As the evaluator reports them.
    """
    macs = model.macs(subnet)['total']
    return dict(
        name=name,
        subnet=subnet.to_dict(),
        macs=macs,
        macs_ratio=macs / model.macs()['total'],
        params=model.params(subnet)['total'],
        metrics=dict(metrics),
    )


def curve_area(
    rows: Sequence[Mapping[str, Any]], metric: str, scale: float
) -> float:
    """AUC of a metric over the MACs of the rows.

    Args:
        rows: From :func:`subnet_row`.
        metric: Name of a metric.
        scale: Brings the metric to 0..1.
    """
    return area_under_curve(
        [row['macs_ratio'] for row in rows],
        [row['metrics'][metric] * scale for row in rows],
    )


def macs_unit(largest: float) -> tuple[float, str]:
    """Factor and name of the unit that suits networks of a size."""
    return (1e9, 'GMACs') if largest >= 1e9 else (1e6, 'MMACs')


def format_table(
    rows: Sequence[Mapping[str, Any]], title: str = '', width: int = 100
) -> str:
    """The rows as text, for logs and terminals."""
    metrics = list(dict.fromkeys(m for row in rows for m in row['metrics']))
    table = Table(title=title or None)
    table.add_column('subnet')
    unit, unit_name = macs_unit(max(row['macs'] for row in rows))
    # What rows of budgets have more: the share of the budget that is used, and
    # by how much the front's answer is better.
    extra = dict(used='% budget', regret='regret')
    extra = {k: v for k, v in extra.items() if any(k in row for row in rows)}
    headers = unit_name, '% MACs', 'Mparams', *metrics, *extra.values()
    for header in headers:
        table.add_column(header, justify='right')
    for row in rows:
        values = [row['metrics'].get(m, float('nan')) for m in metrics]
        table.add_row(
            row['name'],
            f'{row["macs"] / unit:.3f}',
            f'{row["macs_ratio"]:.1%}',
            f'{row["params"] / 1e6:.3f}',
            *(
                f'{v:.2f}' if isinstance(v, int | float) else str(v)
                for v in values
            ),
            *(_optional(row.get(name), name) for name in extra),
        )
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip()


def _optional(value: float | None, name: str) -> str:
    if value is None:
        return ''
    return f'{value:.1%}' if name == 'used' else f'{value:+.2f}'
