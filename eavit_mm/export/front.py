"""A whole Pareto front as folders, and what its networks are like."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from eavit_mm.export.directory import (
    Exporter,
    check_folder,
    names_in,
    read_report,
    refuse_others,
)
from eavit_mm.export.table import format_front, front_row, plot_table
from eavit_mm.files import write_atomically, write_json
from eavit_mm.models import BudgetSolver
from eavit_mm.models.budget_solver import front_for
from eavit_mm.space.pareto import ParetoFront

TABLES = ('table.json', 'table.txt', 'table.png')


def export_front(
    exporter: Exporter,
    front: ParetoFront,
    out: str | Path,
    note: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Exports every member of a front, and writes a table of them.

    Members lie in OUT/<number>_<MACs>. What a killed export has finished is
    kept; the tables are written when all are there.

    Args:
        exporter: Holds the supernet that the front was searched for.
        front: The members to export.
        out: New, empty, or an earlier export of this front.
        note: Called with a line of text for every member.

    Returns:
        What stands in ``table.json``.

    Raises:
        ValueError: If the front is of another model, something else is in
            the folder, or an export failed.
    """
    out = Path(out)
    digits = len(str(len(front.members)))
    # Sorted by name they are sorted by MACs, as the members are.
    places = {
        f'{number:0{digits}d}_{member.macs}': member
        for number, member in enumerate(front.members, 1)
    }
    front_for(exporter.model, front)  # refuses another model's
    _check_folder(exporter, places, out)
    # Stage 2 has measured some members again, with the weights exported here.
    solver = BudgetSolver(exporter.model)
    rows = []
    for number, (name, member) in enumerate(places.items(), 1):
        done = 'kept'
        if not exporter.is_complete(member.subnet, out / name):
            exporter.export(member.subnet, out / name)
            done = 'written'
        note(f'[{number}/{len(places)}] {name}: {done}')
        metrics = solver.metrics_of(member.subnet)
        if front.metric not in metrics:  # stage 2 measured another
            metrics = member.metrics
        report = read_report(out / name)
        rows.append(front_row(name, metrics[front.metric], report))
    table = dict(
        version=1,
        metric=front.metric,
        rule=front.rule,
        source=exporter.source,
        networks=rows,
    )
    write_json(table, out / TABLES[0])
    write_atomically(f'{format_front(table)}\n'.encode(), out / TABLES[1])
    plot_table(table, out / TABLES[2])
    return table


def _check_folder(
    exporter: Exporter, places: Collection[str], out: Path
) -> None:
    """Raises unless a folder holds nothing but a part of this front."""
    # A killed export leaves hidden folders behind.
    names = [name for name in names_in(out) if not name.startswith('.')]
    others = [name for name in names if name not in (*places, *TABLES)]
    earlier = 'an earlier export of this front, which is completed'
    refuse_others(out, others, earlier)
    for name in (name for name in names if name in places):
        check_folder(out / name)
        source = read_report(out / name).get('source')
        # A broken report is written again.
        if source and source.get('sha256') != exporter.source.get('sha256'):
            raise ValueError(
                f'--out {out}: {name} is of another checkpoint, '
                f'{source.get("checkpoint")}; give another folder'
            )
