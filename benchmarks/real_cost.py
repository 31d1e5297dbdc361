"""EA-ViT that trains longer than one fine-tune, beside what that one gains.

Data as in benchmarks.real_cls, which has both at the cost of one fine-tune.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.accuracy import read_records
from benchmarks.pages import FOLDER, spread_text, table
from benchmarks.real import DENSE, EA_VIT, run_all
from benchmarks.real_cls import OWN, SLICES
from benchmarks.real_cls import TASK as ONCE
from benchmarks.real_report import Page, Run, at, shared, write_page

FACTORS = (2, 4)


def _name(method: str, factor: int) -> str:
    return method if factor == 1 else f'{method}, {factor} times'


TIMES = {
    _name(method, factor): (method, factor)
    for factor in FACTORS
    for method in (DENSE, EA_VIT)
}
TASK = replace(
    ONCE,
    sets=('flowers89', 'eurosat'),
    methods={
        name: ONCE.methods[method] for name, (method, _) in TIMES.items()
    },
    module='benchmarks.real_cost',
    records=FOLDER / 'real_cost.json',
    times={name: factor for name, (_, factor) in TIMES.items()},
)
CURVES = {
    _name(EA_VIT, factor): OWN._replace(method=_name(EA_VIT, factor))
    for factor in (1, *FACTORS)
}
INTRO = """# EA-ViT that trains longer

Made by `python -m benchmarks.real_cost` from [real_cost.json](real_cost.json).
All is as on [the page of the methods](real_cls.md), where every method costs
as much as one short fine-tune, and no elastic network's largest is as good as
that. Here EA-ViT, and the whole network alone beside it, cost two or four
times as much: the router's answers."""


def claims(runs: Sequence[Run]) -> str:
    """The largest network beside the whole one alone."""
    rows = []
    for factor in (1, *FACTORS):
        own = CURVES[_name(EA_VIT, factor)]
        alone = SLICES._replace(method=_name(DENSE, factor))
        if both := shared(runs, own, alone):
            wholes = [at(run, alone, 1.0) for run in both]
            less = [
                value - at(run, own, 1.0)
                for run, value in zip(both, wholes, strict=True)
            ]
            cells = spread_text(wholes), spread_text(less)
            rows.append([f'{factor} ({len(both)})', *cells])
    header = [
        'times the cost (seeds)',
        'the whole network alone',
        'EA-ViT lacks',
    ]
    return table(header, rows) if rows else ''


FINDINGS = {
    'flowers89': """One seed at twice the cost, none at four times. It gives
EA-ViT 1 to 6 points at each budget and the whole network 0.7, so that the
largest lacks 4.4 points, in place of 5.4 of the same seed at once the cost:
a difference that is within the spread of the seeds.
""",
}
PAGE = Page(TASK, INTRO, CURVES, claims, FINDINGS, 'accuracy (%)')


def write_report(folder: Path) -> Path:
    """Writes the page and its figures; runs of once the cost are beside."""
    longer = read_records(TASK.records)
    sets = {record['regime'] for record in longer}
    once = [
        record
        for record in read_records(ONCE.records)
        if record['method'] in (DENSE, EA_VIT) and record['regime'] in sets
    ]
    records = [*once, *longer]
    # What is chosen is shown on the page of the methods.
    return write_page(PAGE, [{**r, 'chosen': None} for r in records], folder)


def main() -> None:
    run_all(TASK, __doc__)
    write_report(FOLDER)


if __name__ == '__main__':
    main()
