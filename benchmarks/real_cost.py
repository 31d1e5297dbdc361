"""The methods of benchmarks.real_cls that train longer than one fine-tune.

Data as there, where all cost as much as one.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.accuracy import read_records
from benchmarks.pages import FOLDER, spread_text, table
from benchmarks.real import DENSE, EA_VIT, run_all
from benchmarks.real_cls import BASELINE_CURVES, CLAIMED, OWN, SLICES
from benchmarks.real_cls import TASK as ONCE
from benchmarks.real_report import (
    Curve,
    Page,
    Run,
    at,
    lead_table,
    shared,
    write_page,
)

FACTORS = (2, 4)
ELASTIC = {EA_VIT: OWN, **BASELINE_CURVES}


def _name(method: str, factor: int) -> str:
    return method if factor == 1 else f'{method}, {factor} times'


def _longer(curve: Curve, factor: int) -> Curve:
    return curve._replace(method=_name(curve.method, factor))


TIMES = {
    _name(method, factor): (method, factor)
    for factor in FACTORS
    for method in (DENSE, *ELASTIC)
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
# What all have at once the cost is on the page of the methods.
CURVES = {
    **{
        _name(EA_VIT, factor): _longer(OWN, factor) for factor in (1, *FACTORS)
    },
    **{
        _name(method, factor): _longer(curve, factor)
        for factor in FACTORS
        for method, curve in BASELINE_CURVES.items()
    },
}
INTRO = """# Methods that train longer

Made by `python -m benchmarks.real_cost` from [real_cost.json](real_cost.json).
All is as on [the page of the methods](real_cls.md), where every method costs
as much as one short fine-tune, and no elastic network's largest is as good as
that. Here the methods, and the whole network alone beside them, cost two or
four times as much."""


def claims(runs: Sequence[Run]) -> str:
    """The largest networks beside the whole one alone, and EA-ViT's lead."""
    rows = []
    for factor in (1, *FACTORS):
        alone = _longer(SLICES, factor)
        if not (having := shared(runs, alone)):
            continue
        cells = [spread_text([at(run, alone, 1.0) for run in having])]
        for curve in ELASTIC.values():
            own = _longer(curve, factor)
            less = [
                at(run, alone, 1.0) - at(run, own, 1.0)
                for run in shared(runs, own, alone)
            ]
            cells.append(spread_text(less) if less else '')
        rows.append([f'{factor} ({len(having)})', *cells])
    header = ['times the cost (seeds)', 'the whole network alone']
    header += [f'{method} lacks' for method in ELASTIC]
    leads = [
        lead_table(
            runs,
            _longer(OWN, factor),
            {k: _longer(c, factor) for k, c in BASELINE_CURVES.items()},
            CLAIMED,
            f'{_name(EA_VIT, factor)}, less',
        )
        for factor in FACTORS
    ]
    parts = [table(header, rows) if rows else '', *leads]
    return '\n\n'.join(filter(None, parts))


FINDINGS = {
    'flowers89': """One seed of all that is longer. At four times the cost the
largest networks lack less: EA-ViT's 2.7 points, in place of 5.4 of the same
seed at once, the others' 4.5 to 7.2 in place of 8 to 17, while the whole
network alone gains 0.3. EA-ViT's lead shrinks too: over the MACs that both
take it is 1.6 points before DynaBERT and 1.7 before Flextron (10.0 and 7.8 at
once, three seeds), and 7 before the others. Flextron is better by 0.5 at 30%
and by 2.9 at half, where EA-ViT gains nothing from twice the cost to four
times. So a short training is what EA-ViT is best at here.
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
        if record['method'] in (DENSE, *ELASTIC) and record['regime'] in sets
    ]
    records = [*once, *longer]
    # What is chosen is shown on the page of the methods.
    return write_page(PAGE, [{**r, 'chosen': None} for r in records], folder)


def main() -> None:
    run_all(TASK, __doc__)
    write_report(FOLDER)


if __name__ == '__main__':
    main()
