"""The page and the figures made from the records of the accuracy benchmark."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.methods import (
    ADAPTED,
    DEFAULT,
    HYDRAVIT,
    METHODS,
    REGIMES,
    SCALA,
    SCALA_ABLATIONS,
)
from benchmarks.pages import mean_and_spread, publish, table
from eavit_mm.analysis.plots import plot_metric_over_macs

# Who is held against whom.
COMPARED = (
    (DEFAULT, 'dense'),
    (DEFAULT, HYDRAVIT),
    *((SCALA, other) for other in ('apart', *SCALA_ABLATIONS)),
    (DEFAULT, ADAPTED),
)
# MACs -> accuracies, one per seed.
Curve = dict[int, list[float]]


def curves_of(
    records: Sequence[Mapping[str, Any]], regime: str
) -> dict[str, Curve]:
    """Test accuracies of each method; networks alone are one curve."""
    curves: dict[str, Curve] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record['regime'] == regime and record['method'] in METHODS:
            name = record['method'].partition(' ')[0]
            is_joined = name in ('dense', 'apart')
            name = name if is_joined else record['method']
            for macs, accuracy in record['test'].values():
                curves[name][macs].append(accuracy)
    return {
        name: dict(sorted(curve.items())) for name, curve in curves.items()
    }


def at(curve: Curve, macs: int) -> tuple[float, float] | None:
    """Mean and spread at a cost, between two networks on a straight line."""
    costs = list(curve)
    if not costs or not costs[0] <= macs <= costs[-1]:
        return None
    pairs = [mean_and_spread(values) for values in curve.values()]
    mean, spread = (
        float(np.interp(macs, costs, column))
        for column in zip(*pairs, strict=True)
    )
    return mean, spread


def difference_rows(ours: Curve, theirs: Curve, whole: int) -> list[list[str]]:
    """Ours less theirs at each of their networks, and the spread of that."""
    rows = []
    for macs, values in theirs.items():
        mine, other = at(ours, macs), mean_and_spread(values)
        if mine is None:
            continue
        spread = f'{np.hypot(mine[1], other[1]):.2f}'
        rows.append(
            [
                f'{macs / whole:.1%}',
                f'{mine[0]:.2f}',
                f'{other[0]:.2f}',
                f'{mine[0] - other[0]:+.2f}',
                spread if len(values) > 1 else '',
            ]
        )
    return rows


def curve_table(curves: Mapping[str, Curve], whole: int) -> str:
    """Accuracy of every method at every size that any of them has."""
    sizes = sorted({macs for curve in curves.values() for macs in curve})
    rows = []
    for name, curve in curves.items():
        cells = []
        for macs in sizes:
            if macs in curve:
                mean, spread = mean_and_spread(curve[macs])
                known = len(curve[macs]) > 1
                cells.append(f'{mean:.1f}' + known * f' ± {spread:.1f}')
            else:
                cells.append('')
        seeds = max(map(len, curve.values()))
        rows.append([f'{name} ({seeds})', *cells])
    header = ['method (seeds)', *(f'{m / whole:.1%}' for m in sizes)]
    return table(header, rows)


def cost_table(records: Sequence[Mapping[str, Any]], regime: str) -> str:
    """Iterations and cost of training, in dense image passes."""
    rows = {
        record['method']: [
            record['method'],
            str(record['iterations']),
            f'{record["passes"] / 1000:.1f}',
        ]
        for record in records
        if record['regime'] == regime and record['method'] in METHODS
    }
    header = ['method', 'iterations', 'cost (1,000 dense image passes)']
    return table(header, list(rows.values()))


def figures_of(
    curves: Mapping[str, Curve], regime: str
) -> dict[str, dict[str, Curve]]:
    """Name of a figure to its curves: Scala's widths have one of their own."""
    found: dict[str, dict[str, Curve]] = defaultdict(dict)
    for name, curve in curves.items():
        kind = '_scala' if name.startswith((SCALA, 'apart')) else ''
        found[f'accuracy_{regime}{kind}.png'][name] = curve
    return found


def section(records: Sequence[Mapping[str, Any]], regime: str) -> str:
    """What was measured in one regime."""
    curves = curves_of(records, regime)
    if not curves:
        return f'## {regime}\n\nNot measured yet.'
    whole = max(macs for curve in curves.values() for macs in curve)
    figures = ' '.join(
        f'![accuracy over MACs]({name})' for name in figures_of(curves, regime)
    )
    parts = [f'## {regime}', figures, curve_table(curves, whole)]
    header = ['MACs', 'ours', 'theirs', 'difference', 'its spread']
    for own, other in COMPARED:
        if own in curves and other in curves:
            rows = difference_rows(curves[own], curves[other], whole)
            parts += [f'{own} against {other}:', table(header, rows)]
    return '\n\n'.join([*parts, cost_table(records, regime)])


def write_report(
    records: Sequence[Mapping[str, Any]], folder: Path, intro: str
) -> Path:
    """Writes accuracy.md and its figures into a folder."""
    for regime in REGIMES:
        curves = curves_of(records, regime)
        for figure, some in figures_of(curves, regime).items():
            plot_metric_over_macs(
                {
                    name: [
                        (macs, *mean_and_spread(values))
                        for macs, values in curve.items()
                    ]
                    for name, curve in some.items()
                },
                folder / figure,
                'accuracy (%)',
                f'{regime}, test split, mean and spread of seeds',
            )
    parts = [intro]
    if records:
        parts += [section(records, regime) for regime in REGIMES]
    else:
        parts = [intro.splitlines()[0], 'Not measured yet: `make benchmark`.']
    return publish('\n\n'.join(parts), folder / 'accuracy.md')
