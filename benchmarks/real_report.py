"""Pages and figures made from the records of adaptations to photographs."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.accuracy import read_records
from benchmarks.chosen import draw_chosen
from benchmarks.pages import (
    FOLDER,
    commits,
    mean_and_spread,
    publish,
    spread_text,
    table,
)
from benchmarks.real import Task, run_all
from benchmarks.stage2 import UNIFORM, lead
from benchmarks.stage2 import curve as over_macs
from eavit_mm.analysis.plots import plot_metric_over_macs

CHOSEN = """## What the router chooses

Heads and hidden channels of each layer at half of the MACs, means over seeds
(embed_dims in the legend), and the answers to all budgets and seeds, near
ones near each other."""
COSTS = """## What fronts and answers cost

Forward passes over the images of the search, beside the training that all
methods have alike and as a share of it: while a search goes on after a stage,
or of what the router's hook measures at its end. Not recorded: who is
evaluated again when a race ends, and the others' searches."""
# The records of one seed by method.
Run = Mapping[str, Mapping[str, Any]]


class Curve(NamedTuple):
    """Whose answers to budgets, with the weights of which stage."""

    method: str
    stage: str
    source: str


@dataclass(frozen=True)
class Page:
    """What is shown of a task.

    Attributes:
        task: The task.
        intro: Text above the sets.
        curves: By their names in tables and figures.
        claims: What was promised beside what was found, as Markdown.
        findings: What is to be said of a set.
        label: Of the metric, with its unit.
    """

    task: Task
    intro: str
    curves: Mapping[str, Curve]
    claims: Callable[[Sequence[Run]], str]
    findings: Mapping[str, str]
    label: str


def runs_of(
    records: Iterable[Mapping[str, Any]], name: str
) -> dict[int, dict[str, Mapping[str, Any]]]:
    """Seed to the records of one set."""
    runs: dict[int, dict[str, Mapping[str, Any]]] = {}
    for record in records:
        if record['regime'] == name:
            runs.setdefault(record['seed'], {})[record['method']] = record
    return dict(sorted(runs.items()))


def answers(run: Run, curve: Curve) -> Any:
    """Budget, MACs of the part and metric of a curve; None: not measured."""
    stages = run.get(curve.method, {}).get('answers', {})
    return stages.get(curve.stage, {}).get(curve.source)


def at(run: Run, curve: Curve, budget: float) -> float:
    """The metric of the answer to a budget; nan if none is below it."""
    found = {b: value for b, _, value in answers(run, curve) or ()}
    return float(found.get(budget, np.nan))


def shared(runs: Iterable[Run], *curves: Curve) -> list[Run]:
    """The seeds that have all of these curves."""
    return [
        run
        for run in runs
        if all(answers(run, curve) is not None for curve in curves)
    ]


def leads(runs: Iterable[Run], own: Curve, other: Curve) -> list[float]:
    """By how much the one is above the other over the MACs taken, by seed.

    An answer to all MACs that takes fewer stands for those above it too.
    """
    found = []
    for run in shared(runs, own, other):
        whole = whole_of(run)
        both = (answers(run, curve) for curve in (own, other))
        found.append(lead(*([*x, (1.0, whole, x[-1][-1])] for x in both)))
    return found


def whole_of(run: Run) -> int:
    """The largest network's MACs."""
    return max(
        macs
        for record in run.values()
        for sources in record['answers'].values()
        for answer in sources.values()
        for _, macs, _ in answer
    )


def lead_table(
    runs: Sequence[Run],
    own: Curve,
    others: Mapping[str, Curve],
    budgets: Sequence[float],
    title: str,
) -> str:
    """Ours less each of the others, over the seeds that have both."""
    rows = []
    for label, other in others.items():
        if both := shared(runs, own, other):
            differences = (
                [at(run, own, budget) - at(run, other, budget) for run in both]
                for budget in budgets
            )
            cells = [
                '' if np.isnan(values).any() else spread_text(values)
                for values in differences
            ]
            rows.append([label, *cells, spread_text(leads(runs, own, other))])
    header = [title, *(f'{budget:.0%}' for budget in budgets)]
    header.append('over the MACs that both take')
    return table(header, rows) if rows else ''


def trained_alone(
    runs: Sequence[Run], own: Curve, names: Iterable[str]
) -> str:
    """Networks cut from the pretrained one, and our answers at their MACs."""
    rows = []
    for name in names:
        curve = Curve(name, name, UNIFORM)
        if both := shared(runs, own, curve):
            found = [answers(run, curve)[0] for run in both]
            ours = [answers(run, own) for run in both]
            whole = whole_of(both[0])
            less = [
                float(np.interp(macs, *over_macs(answer))) - value
                for answer, (_, macs, value) in zip(ours, found, strict=True)
            ]
            values = [value for *_, value in found]
            share = f'{found[0][1] / whole:.1%}'
            rows.append([name, share, spread_text(values), spread_text(less)])
    header = ['trained alone', 'MACs', 'found', 'EA-ViT less']
    return table(header, rows) if rows else ''


def budget_table(page: Page, runs: Sequence[Run]) -> str:
    """Every curve at every budget, over the seeds that have it."""
    rows = []
    for label, curve in page.curves.items():
        if having := shared(runs, curve):
            cells = [
                [at(run, curve, budget) for run in having]
                for budget in page.task.budgets
            ]
            rows.append(
                [
                    f'{label} ({len(having)})',
                    *(
                        ''
                        if np.isnan(values).any()
                        else spread_text(values, 1)
                        for values in cells
                    ),
                ]
            )
    header = f'{page.label} (seeds)'
    return table([header, *(f'{b:.1%}' for b in page.task.budgets)], rows)


def section(page: Page, runs: Sequence[Run], name: str) -> str:
    """What was measured on one set."""
    figure = f'{page.task.records.stem}_{name}.png'
    parts = [
        f'## {name}',
        f'![{page.label} over MACs]({figure})',
        budget_table(page, runs),
        page.claims(runs),
        page.findings.get(name, ''),
    ]
    return '\n\n'.join(filter(None, parts))


def cost_table(records: Sequence[Mapping[str, Any]]) -> str:
    """Forwards for fronts and answers, as shares of a method's training."""
    found = defaultdict(list)
    for record in records:
        for stage, share in record.get('forwards', {}).items():
            found[record['method'], stage].append(share)
    header = ['method (runs)', 'after', 'share of its training']
    rows = [
        [f'{method} ({len(shares)})', stage, spread_text(shares)]
        for (method, stage), shares in found.items()
        if any(shares)
    ]
    return table(header, rows) if rows else ''


def draw(page: Page, runs: Sequence[Run], name: str, folder: Path) -> None:
    """Means over the MACs that answers take, and their spread."""
    task, curves, counts = page.task, {}, set()
    for label, curve in page.curves.items():
        found = [answers(run, curve) for run in shared(runs, curve)]
        if found:
            counts.add(len(found))
            points = []
            for same in zip(*found, strict=True):
                _, macs, values = zip(*same, strict=True)
                points.append((float(np.mean(macs)), *mean_and_spread(values)))
            curves[label] = points
    part = '' if task.part == 'total' else f' of the {task.part}'
    seeds = ' to '.join(map(str, sorted({min(counts), max(counts)})))
    plot_metric_over_macs(
        curves,
        folder / f'{task.records.stem}_{name}.png',
        page.label,
        f'{name}, test split, MACs{part}; seeds: {seeds}',
    )


def run_page(page: Page, description: str | None) -> None:
    """Runs what the command line asks for, and writes the page."""
    run_all(page.task, description)
    write_page(page, read_records(page.task.records), FOLDER)


def write_page(
    page: Page, records: Sequence[Mapping[str, Any]], folder: Path
) -> Path:
    """Writes the page and a figure of each set into a folder."""
    parts = [page.intro]
    for name in page.task.sets:
        runs = list(runs_of(records, name).values())
        if runs:
            draw(page, runs, name, folder)
            parts.append(section(page, runs, name))
    if costs := cost_table(records):
        parts.append(f'{COSTS}\n\n{costs}')
    if records:
        chosen = f'{page.task.records.stem}_chosen.png'
        if draw_chosen(records, folder / chosen):
            parts.append(f'{CHOSEN}\n\n![widths]({chosen})')
        parts.append(f'Commits: {commits(records)}.')
    path = folder / f'{page.task.records.stem}.md'
    return publish('\n\n'.join(parts), path)
