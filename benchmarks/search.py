"""Compares search algorithms on a supernet of the accuracy benchmark.

Every search sees the images kept for it; its front is evaluated once more on
the test split. A search that was killed goes on where it was.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

import eavit_mm  # noqa: F401
from benchmarks.accuracy import (
    HASHED,
    LOG,
    add_run_arguments,
    call,
    config_hash,
    evaluate,
    run_config,
    train,
)
from benchmarks.methods import DEFAULT
from benchmarks.pages import (
    FOLDER,
    commit,
    commits,
    publish,
    spread_text,
    table,
)
from eavit_mm.analysis.plots import plot_hypervolume
from eavit_mm.files import write_atomically, write_json
from eavit_mm.models.budget_solver import cost_of
from eavit_mm.search.evaluations import read_evaluations
from eavit_mm.space import SearchSpace
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.pareto import Member, hypervolume

RECORDS = FOLDER / 'search.json'
REGIME, SUPERNET_SEED = 'fashion40', 0
EVALUATIONS, BINS = 400, 20
METRIC = 'accuracy/top1'
# Evaluations between two points of a curve.
STEP = 10
# What the curves are over: of a race, images that were seen.
FORWARDS = 'forwards of all images'
# Where candidates of the arm `racing` may leave.
RACE = [0.0625, 0.125, 0.25, 0.5]
# The keys of a config that change what a search finds.
SEARCHED = (*HASHED, 'search_cfg', 'val_dataloader', 'val_evaluator')
_NSGA2 = dict(type='eavit_mm.NSGA2')
PARTITION, STANDARD, RANDOM = 'partition', 'standard NSGA-II', 'random'
RACING = 'racing'
ALGORITHMS: dict[str, dict[str, Any]] = {
    PARTITION: _NSGA2,
    RACING: _NSGA2,
    STANDARD: dict(_NSGA2, survival=dict(type='eavit_mm.RankAndCrowding')),
    RANDOM: dict(type='eavit_mm.RandomSearch'),
}
INTRO = f"""# Search on Fashion-40

Made by `make benchmark` from [search.json](search.json). The supernet
is the `{DEFAULT}` run of [accuracy.md](accuracy.md), {REGIME}, seed
{SUPERNET_SEED}. A search evaluates {EVALUATIONS} subnets on the 2,000 images
kept for it; its front is evaluated once more on the test split (10,000
images), which neither training nor search sees. Mean and standard deviation
over seeds of the search. Hypervolume: accuracy 0 and the MACs of the largest
as reference point. Gap: the widest stretch of the MACs range without a member
of the front, as a share of the range. Bins: how many of {BINS} equal parts of
the MACs range have a reference, the fewest of all seeds. Forwards: images that
all subnets together were evaluated on, as a share of all images for all. Of
`{RACING}`, whose runs are still to come where it is not in the table, what is
behind leaves after shares of the images of {', '.join(map(str, RACE))}."""


@cache
def supernet_config() -> Config:
    """The run of the accuracy benchmark that is searched."""
    return run_config(DEFAULT, REGIME, SUPERNET_SEED)


@cache
def macs_range(uniform: bool = False) -> tuple[int, int]:
    """MACs of the supernet's cheapest and largest subnets.

    Args:
        uniform: Whether only networks of uniform width count, which have no
            branch off.
    """
    cfg = supernet_config()
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    space, cost = model.backbone.space, cost_of(model, 'macs')
    lowest = (
        space.uniform_ladder[0] if uniform else CostTable(space, cost).cheapest
    )
    return int(cost(lowest)), int(cost(space.largest))


def search_config(name: str, seed: int) -> Config:
    """The config of one search."""
    cfg = Config(supernet_config().to_dict())
    cfg.search_cfg = dict(
        type='eavit_mm.ParetoSearchLoop',
        metric=METRIC,
        algorithm=dict(ALGORITHMS[name]),
        max_evaluations=EVALUATIONS,
        bins=BINS,
        seed=seed,
        threads=1,
    )
    if name == RACING:
        cfg.search_cfg.race = RACE
    return cfg


def search(cfg: Config, name: str, checkpoint: str, work_dir: Path) -> None:
    """Runs a search, or goes on with it."""
    config = work_dir / 'config.py'
    write_atomically(cfg.pretty_text.encode(), config)
    shared = ('--work-dir', str(work_dir), '--resume')
    log = work_dir / LOG
    call('tools/search.py', str(config), checkpoint, *shared, log=log)
    print(f'{name}: searched', flush=True)


def on_test_split(
    members: Sequence[Mapping[str, Any]], checkpoint: str, work_dir: Path
) -> list[dict[str, Any]]:
    """The members of a front with their accuracy on the test split."""
    cfg = Config(supernet_config().to_dict())
    cfg.test_cfg.subnets = {
        str(i): member['subnet'] for i, member in enumerate(members)
    }
    evaluate(cfg, 'test', checkpoint, work_dir)
    found: list[dict[str, Any]] = json.loads(
        (work_dir / 'test.json').read_text()
    )['subnets']
    return found


def record(
    name: str, seed: int, checkpoint: str, folder: Path
) -> dict[str, Any]:
    """What the page needs of one search; measured once."""
    cfg = search_config(name, seed)
    code = config_hash(cfg, SEARCHED)
    work_dir = folder / code
    done = work_dir / 'record.json'
    if not done.exists():
        work_dir.mkdir(parents=True, exist_ok=True)
        search(cfg, f'{name}, seed {seed}', checkpoint, work_dir)
        write_json(measure(name, seed, checkpoint, work_dir), done)
    found: dict[str, Any] = json.loads(done.read_text())
    return found


def largest_gap(macs: Sequence[float], low: float, high: float) -> float:
    """Widest stretch of [low, high] without a member, as a share of it."""
    points = np.sort([low, *macs, high])
    return float(np.diff(points).max() / (high - low))


def measure(
    name: str, seed: int, checkpoint: str, work_dir: Path
) -> dict[str, Any]:
    """What a search that has ended found."""
    front = json.loads((work_dir / 'pareto.json').read_text())
    members, references = front['members'], front['references']
    low, high = macs_range()
    on_test = on_test_split(members, checkpoint, work_dir)
    return dict(
        algorithm=name,
        seed=seed,
        supernet=config_hash(supernet_config()),
        config=ALGORITHMS[name],
        commit=commit(),
        evaluations=front['evaluations'],
        hypervolume=front['hypervolume'],
        test_hypervolume=volume(on_test, high),
        members=len(members),
        gap=largest_gap([m['macs'] for m in members], low, high),
        bins=len(references),
        curve=curve_of(members_in(work_dir), high),
        forwards=forwards((work_dir / LOG).read_text()),
    )


def members_in(work_dir: Path) -> list[Member]:
    """All that a search evaluated, in order."""
    front = json.loads((work_dir / 'pareto.json').read_text())
    space = SearchSpace(**front['space'])
    return read_evaluations(work_dir / 'evaluations.jsonl', space)[1]


def curve_of(
    members: Sequence[Member], whole: int
) -> list[tuple[float, float]]:
    """Hypervolume of what saw all images, while a search went on.

    Over evaluations, of which one on a part of the images counts as the part.
    """
    seen = [max(map(int, member.parts or ['1'])) for member in members]
    images, curve = max(seen), []
    for number in range(STEP, len(members) + 1, STEP):
        rows = [
            member.to_dict()
            for member, own in zip(members, seen[:number], strict=False)
            if own == images
        ]
        used = sum(seen[:number]) / images
        curve.append((used, volume(rows, whole)))
    return curve


def forwards(log: str) -> float:
    """Images that a search needed, in per cent, by its log."""
    shares = re.findall(r'([\d.]+)% of the forwards', log)
    return float(shares[-1]) if shares else 100.0


def volume(rows: Sequence[Mapping[str, Any]], whole: int) -> float:
    """Hypervolume of networks with their accuracy and MACs."""
    points = [
        (-row['metrics'][METRIC] / 100, row['macs'] / whole) for row in rows
    ]
    return hypervolume(points, (0, 1))


def mean_curves(
    records: Sequence[Mapping[str, Any]],
) -> dict[str, list[tuple[float, float]]]:
    """Hypervolume over evaluations of each algorithm, mean over seeds."""
    curves = {}
    for name in ALGORITHMS:
        found = [r['curve'] for r in records if r['algorithm'] == name]
        if found:
            curves[name] = mean_curve(found)
    return curves


def mean_curve(curves: Any) -> list[tuple[float, float]]:
    """The mean of curves, point by point."""
    return [(float(x), float(y)) for x, y in np.mean(curves, axis=0)]


def page(records: Sequence[Mapping[str, Any]]) -> str:
    """The page made from the records, in Markdown."""
    rows = []
    for name in ALGORITHMS:
        found = [r for r in records if r['algorithm'] == name]
        if not found:
            continue
        cells = [f'{name} ({len(found)})']
        for key in ('hypervolume', 'test_hypervolume', 'gap', 'members'):
            digits = 1 if key == 'members' else 4
            cells.append(spread_text([r[key] for r in found], digits))
        cells.append(str(min(r['bins'] for r in found)))
        shares = [r.get('forwards', 100.0) for r in found]
        rows.append([*cells, f'{np.mean(shares):.1f} %'])
    header = ['algorithm (seeds)', 'hypervolume', 'on the test split']
    header += ['largest gap', 'members', 'bins', 'forwards']
    figure = '![hypervolume over evaluations](search_hypervolume.png)'
    last = f'Commit {commits(records)}.'
    return '\n\n'.join([INTRO, table(header, rows), figure, last])


def write_report(records: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Writes search.md and its figure into a folder."""
    figure = folder / 'search_hypervolume.png'
    plot_hypervolume(mean_curves(records), figure, FORWARDS)
    return publish(page(records), folder / 'search.md')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_run_arguments(parser, seeds=5)
    args = parser.parse_args()
    folder = Path(args.work_dir).absolute()
    work_dir, checkpoint = train(supernet_config(), folder)
    with ThreadPoolExecutor(args.jobs) as pool:
        futures = [
            pool.submit(record, name, seed, checkpoint, work_dir)
            for seed in args.seeds
            for name in ALGORITHMS
        ]
        records = [future.result() for future in futures]
    write_json(records, RECORDS)
    write_report(records, FOLDER)


if __name__ == '__main__':
    main()
