"""Searches of real supernets whose candidates race, beside those that do not.

Data and supernets, stage 1 of all four axes, as in real_ablations.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from benchmarks.accuracy import LOG, add_record, read_records, train
from benchmarks.methods import read_config
from benchmarks.pages import (
    FOLDER,
    commit,
    commits,
    publish,
    spread_text,
    table,
)
from benchmarks.real import (
    EA_VIT,
    IMAGES,
    STAGE1,
    configs_of,
    cost_of,
    hash_of,
    parse_runs,
    placed,
    searched,
)
from benchmarks.real_ablations import FOUR, TASK
from benchmarks.real_cls import OURS
from benchmarks.search import (
    FORWARDS,
    RACE,
    curve_of,
    forwards,
    mean_curve,
    members_in,
)
from eavit_mm.analysis.plots import plot_hypervolume

RECORDS = FOLDER / 'real_race.json'
EVALUATIONS = read_config(OURS.format('eurosat')).search_cfg.max_evaluations
FULL, RACING = 'all images', 'racing'
AT_EQUAL = 'at equal forwards'
FINDING = """A race takes 55% of the forwards and of the cost, and has at its
end more hypervolume in seven of ten searches, less in three; most in one of
flowers89 (-0.037). At equal forwards it has more in nine. Where nobody could
leave in the first generation, 40 of the 100 subnets, it took 63% and had less
in nine of ten (commit e12ce4227a): the first eight are rivals of the others
since."""
INTRO = f"""# Racing in the search, on real photographs

Made by `python -m benchmarks.real_race` from [real_race.json](real_race.json).
The supernets are those of [real_ablations.md](real_ablations.md) with {FOUR}
after stage 1, the searches theirs: {EVALUATIONS} subnets on {IMAGES} images.
`{RACING}` is the same search, whose candidates may leave after shares of the
images of {', '.join(map(str, RACE))}. Hypervolume: accuracy 0 and the MACs
of the largest as reference point, on the images of the search. Forwards:
images that all subnets together were evaluated on, as a share of all images
for all; of a racing candidate the figure counts those that it saw, and draws
what saw all. Cost: MACs of the forwards while a search goes on, as a share of
those that each method there trains with, {TASK.passes:,} images through the
whole network and back. Differences: {RACING} less {FULL}, and less what the
search on all images had reached after as many forwards; mean and standard
deviation over seeds."""


def record_of(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Both searches of one supernet; what was done is not repeated."""
    cfg = placed(configs_of(TASK, FOUR, name, seed)[f'{STAGE1}, {FOUR}'])
    work_dir, checkpoint = train(cfg, folder)
    raced = Config(cfg.to_dict())
    raced.search_cfg.race = RACE
    found: dict[str, Any] = {}
    for label, each in ((FULL, cfg), (RACING, raced)):
        measured = work_dir / hash_of(TASK, {STAGE1: each})
        measured.mkdir(exist_ok=True)
        front = searched(each, f'{name}, {label}', checkpoint, measured)
        text = (front.parent / LOG).read_text()
        members = members_in(front.parent)
        # Every search begins with the largest, among others.
        whole = max(member.macs for member in members)
        found[label] = dict(
            hypervolume=json.loads(front.read_text())['hypervolume'],
            forwards=forwards(text),
            cost=cost_of(members, whole) / TASK.passes,
            curve=curve_of(members, whole),
        )
    return dict(
        method=EA_VIT,
        regime=name,
        seed=seed,
        commit=commit(),
        command=f'python -m benchmarks.real_race --sets {name} --seeds {seed}',
        found=found,
    )


def after(full: Mapping[str, Any], raced: Mapping[str, Any]) -> float:
    """Hypervolume of the one after as many forwards as the other took."""
    used, volumes = zip(*full['curve'], strict=True)
    return float(
        np.interp(raced['forwards'] * EVALUATIONS / 100, used, volumes)
    )


def page(records: Sequence[Mapping[str, Any]]) -> str:
    """What was found on each set, and on all."""
    rows = []
    sets = [s for s in TASK.sets if any(r['regime'] == s for r in records)]
    for title, names in (*((s, [s]) for s in sets), ('all', sets)):
        found = [r['found'] for r in records if r['regime'] in names]
        full, raced = (
            np.array([each[label]['hypervolume'] for each in found])
            for label in (FULL, RACING)
        )
        shares = [each[RACING]['forwards'] for each in found]
        cut = np.array([after(e[FULL], e[RACING]) for e in found])
        cells = [
            spread_text(x, 4) for x in (full, raced, raced - full, raced - cut)
        ]
        costs = [[e[label]['cost'] for e in found] for label in (FULL, RACING)]
        cells += [spread_text(shares, 1), *map(spread_text, costs)]
        rows.append([f'{title} ({len(found)})', *cells])
    header = ['set (seeds)', FULL, RACING, 'difference', AT_EQUAL]
    figure = '![hypervolume over forwards](real_race.png)'
    last = f'Commits: {commits(records)}.'
    header += ['forwards (%)', f'cost, {FULL}', f'cost, {RACING}']
    return '\n\n'.join([INTRO, table(header, rows), figure, FINDING, last])


def write_report(records: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Writes real_race.md and its figure into a folder."""
    curves = {
        label: mean_curve([r['found'][label]['curve'] for r in records])
        for label in (FULL, RACING)
    }
    plot_hypervolume(curves, folder / 'real_race.png', FORWARDS)
    return publish(page(records), folder / 'real_race.md')


def main() -> None:
    args = parse_runs(TASK, __doc__, seeds=2)
    folder = Path(args.work_dir).absolute()
    if not args.report:
        for seed in args.seeds:
            for name in args.sets:
                add_record(record_of(name, seed, folder), RECORDS)
                print(f'{name}, seed {seed}: measured', flush=True)
    write_report(read_records(RECORDS), FOLDER)


if __name__ == '__main__':
    main()
