"""Cascades of two of EA-ViT's answers, beside the one for all images.

Data and networks, after stage 2, as in benchmarks.real_cls.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import (
    add_record,
    config_hash,
    evaluate,
    read_records,
    train,
)
from benchmarks.pages import FOLDER, commit, commits, publish, spread_text
from benchmarks.pages import table as table_text
from benchmarks.real import (
    EA_VIT,
    STAGE1,
    STAGE2,
    configs_of,
    hash_of,
    parse_runs,
    placed,
)
from benchmarks.real_cls import TASK as WHOLE
from benchmarks.stage2 import ROUTER

RECORDS = FOLDER / 'real_cascade.json'
BUDGETS = (0.2, 0.3, 0.4, 0.5, 0.625, 0.75)
INTRO = """# Two subnets in turn, on real photographs

Made by `python -m benchmarks.real_cascade` from
[real_cascade.json](real_cascade.json), with the networks of EA-ViT of
[real_cls.md](real_cls.md). `tools/test.py --cascade` fits on the images of the
search which two of the router's answers see an image, and below which
probability the second is asked. Top-1 accuracy in per cent on the test images,
less that of the router's one answer for all images at the same mean MACs,
between whose budgets lines are drawn; mean and standard deviation over
seeds."""


FINDING = """It gains where few classes make probabilities that tell: in the
mean over the six shares by more than the spread on eurosat, dtd10 and btmri,
there 3 points at 30 and 40%, but a loss at 75. On flowers89 and cifar100, with
89 and 100 classes, 400 images choose pairs that are no better on others, or
worse."""


def record_of(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """The cascades of one run of EA-ViT, whose trainings are there."""
    configs = configs_of(WHOLE, EA_VIT, name, seed)
    first = placed(configs[STAGE1])
    work_dir, checkpoint = train(first, folder)
    cfg = placed(configs[STAGE2])
    cfg.load_from = checkpoint
    measured = hash_of(WHOLE, {STAGE1: first})
    cfg.model.router.front = str(work_dir / measured / 'search/pareto.json')
    work_dir, checkpoint = train(cfg, folder, validate=True)
    cfg.test_cfg = dict(type='eavit_mm.CascadeTestLoop', budgets=[*BUDGETS])
    out = work_dir / config_hash(cfg, ['test_cfg'])
    out.mkdir(exist_ok=True)
    evaluate(cfg, 'test', checkpoint, out, WHOLE.metric)
    rows = json.loads((out / 'test.json').read_text())['subnets']
    return dict(
        method=EA_VIT,
        regime=name,
        seed=seed,
        commit=commit(),
        command=f'python -m benchmarks.real_cascade --sets {name} '
        f'--seeds {seed}',
        found=[
            dict(
                asked=asked,
                macs=row['macs'],
                accuracy=row['metrics'][WHOLE.metric],
                networks=len(row['cascade']),
            )
            for asked, row in zip(BUDGETS, rows, strict=True)
        ],
    )


def gains(
    record: Mapping[str, Any], answers: Sequence[Sequence[float]]
) -> list[float]:
    """What cascades gain over one answer for all at their mean MACs.

    Args:
        record: Of the cascades.
        answers: Budget, MACs and accuracy of the router's.
    """
    _, macs, values = zip(*answers, strict=True)
    return [
        each['accuracy'] - float(np.interp(each['macs'], macs, values))
        for each in record['found']
    ]


def page(records: Sequence[Mapping[str, Any]]) -> str:
    """What was found on each set, beside what real_cls.json has."""
    answers = {
        (r['regime'], r['seed']): r['answers'][STAGE2][ROUTER]
        for r in read_records(WHOLE.records)
        if r['method'] == EA_VIT
    }
    rows = []
    for name in WHOLE.sets:
        found = [
            gains(r, answers[r['regime'], r['seed']])
            for r in records
            if r['regime'] == name
        ]
        if found:
            values = np.array(found)
            cells = [spread_text(each) for each in values.T]
            cells.append(spread_text(values.mean(1)))
            rows.append([f'{name} ({len(found)})', *cells])
    header = ['set (seeds)', *(f'{b:.1%}' for b in BUDGETS), 'mean']
    last = f'Commits: {commits(records)}.'
    return '\n\n'.join([INTRO, table_text(header, rows), FINDING, last])


def main() -> None:
    args = parse_runs(WHOLE, __doc__, seeds=2)
    folder = Path(args.work_dir).absolute()
    if not args.report:
        for seed in args.seeds:
            for name in args.sets:
                add_record(record_of(name, seed, folder), RECORDS)
                print(f'{name}, seed {seed}: measured', flush=True)
    publish(page(read_records(RECORDS)), FOLDER / 'real_cascade.md')


if __name__ == '__main__':
    main()
