"""The whole adaptation of a ViT-mini to Fashion-40: its recipe, and for less.

The folder that EAVIT_DATA names (default: data) has fashion-mnist in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import PASSES, read_records
from benchmarks.pages import FOLDER, spread_text, table
from benchmarks.real import STAGE1, STAGE2, run_all
from benchmarks.real_cls import TASK as PHOTOGRAPHS
from benchmarks.real_report import Curve, Page, Run, lead_table, write_page
from benchmarks.search import RACE
from benchmarks.stage2 import FRONT, ROUTER, UNIFORM

OURS = 'configs/eavit/vitmini_{}.py'
RECIPE, LESS = 'the recipe', 'for less'
# What a method's stages train, in fine-tunes of the whole network.
TRAINED: dict[str, dict[str, float]] = {
    RECIPE: {STAGE1: 1.0, STAGE2: 0.65},
    LESS: {'short stage1': 0.3, 'long stage2': 0.9},
}
# What a stage for less has besides its length, as those of photographs: levels
# and warm-up are longer shares of the short stage 1, the search races, and the
# router draws other budgets.
OTHERWISE: dict[str, dict[str, Any]] = {
    'short stage1': {
        'search_cfg.race': RACE,
        'param_scheduler.0.end': 200,
        'param_scheduler.1.begin': 200,
        'custom_hooks.1.levels.1.begin': 0.1,
        'custom_hooks.1.levels.2.begin': 0.2,
    },
    'long stage2': {
        'model.router.highest': 2.0,
        'model.router.skew': 3.0,
        'model.router.gated_every': 10,
        'custom_hooks.0.warmup': 0.05,
    },
}


def _length(share: float) -> dict[str, int]:
    """Of a stage, which the task scales with the others to their cost."""
    length = round(10_000 * share)
    return {'train_cfg.max_iters': length, 'param_scheduler.1.end': length}


TASK = replace(
    PHOTOGRAPHS,
    sets=('fashion40',),
    methods={
        method: dict(
            zip(stages, (OURS, OURS.replace('.py', '_stage2.py')), strict=True)
        )
        for method, stages in TRAINED.items()
    },
    alone={},
    options={
        stage: {**_length(share), **OTHERWISE.get(stage, {})}
        for stages in TRAINED.values()
        for stage, share in stages.items()
    },
    module='benchmarks.less',
    records=FOLDER / 'less.json',
    passes=PASSES,
    times={method: sum(each.values()) for method, each in TRAINED.items()},
    images=2_000,
)
ANSWERS = {
    method: Curve(method, list(stages)[-1], ROUTER)
    for method, stages in TRAINED.items()
}
CURVES = {
    **{f'{method}, router': curve for method, curve in ANSWERS.items()},
    **{
        f'{method}, {source}': curve._replace(source=source)
        for method, curve in ANSWERS.items()
        for source in (FRONT, UNIFORM)
    },
}
CLAIMED = (0.1, 0.2, 0.3, 0.5, 1.0)
INTRO = f"""# An adaptation for less

Made by `python -m benchmarks.less` from [less.json](less.json). A ViT-mini is
adapted to Fashion-40 (40 classes; 28,000 training images of the half of
Fashion-MNIST that its pretraining has not seen) by all stages of EA-ViT.
`{RECIPE}` is that of `vitmini_fashion40_stage2.py`: a stage 1 of the cost of
one dense fine-tune, a search of 400 subnets on 2,000 images each, a stage 2.
`{LESS}`: a short stage 1, the same search as a [race](../search.md), and a
stage 2 that has most of the training, with the schedules and budgets of the
recipe for [photographs](real_cls.md). All costs are in fine-tunes of the
whole network, {PASSES:,} images forward and backward; a forward pass alone is
a third. Accuracy in per cent on the test split (10,000 images), which neither
training nor search sees; mean and standard deviation over seeds. Not counted:
who is evaluated again when a race ends, 1 to 5% of the search. 100% is the
answer to a budget of all MACs, which may take fewer."""


def costs(runs: Sequence[Run]) -> str:
    """Where the cost of each method goes, in fine-tunes."""
    rows = []
    for method, stages in TRAINED.items():
        found = [
            list(run[method]['spent'].values())
            for run in runs
            if len(run.get(method, {}).get('spent', ())) == len(stages)
        ]
        if not found:
            continue
        first, second = stages.values()
        spent = TASK.times[method] * np.array(found)
        cells = [
            f'{first:.2f}',
            spread_text(spent[:, 0]),
            f'{second:.2f}',
            spread_text(spent[:, 1]),
            spread_text(first + second + spent.sum(axis=1)),
        ]
        rows.append([f'{method} ({len(found)})', *cells])
    header = ['in fine-tunes (seeds)', 'stage 1', 'search', 'stage 2']
    header += ['measuring answers', 'together']
    return table(header, rows) if rows else ''


def claims(runs: Sequence[Run]) -> str:
    """Costs, and what becomes of the accuracy."""
    others = {RECIPE: ANSWERS[RECIPE]}
    less = lead_table(
        runs, ANSWERS[LESS], others, CLAIMED, f'{LESS}, by the router, less'
    )
    return '\n\n'.join(filter(None, (costs(runs), less)))


PAGE = Page(TASK, INTRO, CURVES, claims, {}, 'accuracy (%)')


def shown(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record; what its fronts and answers cost has a table of its own."""
    spent = dict(record['forwards'])
    return {**record, 'spent': spent, 'forwards': {}, 'chosen': None}


def write_report(folder: Path) -> Path:
    """Writes the page and its figure."""
    records = list(map(shown, read_records(TASK.records)))
    return write_page(PAGE, records, folder)


def main() -> None:
    run_all(TASK, __doc__)
    write_report(FOLDER)


if __name__ == '__main__':
    main()
