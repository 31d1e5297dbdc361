"""Trains stage 2 on supernets of the accuracy benchmark, and its controls.

Every seed has a supernet, a search and a few trainings of its own; whatever
was killed goes on where it was.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from benchmarks.accuracy import (
    LOG,
    READING,
    add_run_arguments,
    call,
    config_hash,
    run_config,
    train,
)
from benchmarks.methods import DEFAULT, read_config
from benchmarks.pages import (
    FOLDER,
    commit,
    commits,
    publish,
    spread_text,
    table,
)
from benchmarks.search import (
    METRIC,
    PARTITION,
    REGIME,
    macs_range,
    search,
    search_config,
)
from eavit_mm.analysis.plots import plot_metric_over_macs
from eavit_mm.files import write_atomically, write_json

RECORDS = FOLDER / 'stage2.json'
STAGE2 = 'vitmini_fashion40_stage2'
BUDGETS = 20
ROUTER, FRONT, UNIFORM = 'router', 'front', 'uniform'
SOURCES = (ROUTER, FRONT, UNIFORM)
PLAIN, CONTROL = 'default', 'no router'
NO_REFERENCE = 'no reference (lambda 2 = 0)'
ALWAYS_GATED = 'gated in every step'
# What the router's answers are held against: variant and source.
RIVALS = {
    'the front, same weights': (PLAIN, FRONT),
    'uniform networks, same weights': (PLAIN, UNIFORM),
    'the router of lambda 2 = 0': (NO_REFERENCE, ROUTER),
    'the router gated in every step': (ALWAYS_GATED, ROUTER),
    'uniform networks trained as long without a router': (CONTROL, UNIFORM),
}
# What a variant changes in the config.
VARIANTS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    ALWAYS_GATED: {'model.router.gated_every': 1},
    NO_REFERENCE: {'model.router.pareto_weight': 0.0},
    CONTROL: {},
}
INTRO = f"""# Stage 2 on Fashion-40

Made by `make benchmark` from [stage2.json](stage2.json). Every seed: the
`{DEFAULT}` supernet of [accuracy.md](accuracy.md), {REGIME}; one search of 400
evaluations on the 2,000 images kept for it; stage 2 as in
`{STAGE2}.py`. `{CONTROL}` trains as long with the sampler of stage 1. Each
network of {BUDGETS} budgets, even from the cheapest uniform subnet's MACs to
the largest's, is evaluated on the test split (10,000 images), which nothing
before has seen. Area: under accuracy (0..1) over budget, divided by the range
of budgets, 100 times; mean and standard deviation over seeds. Over the MACs
taken: the same by what answers really take, over the range that both cover,
however coarse their steps. The front is
measured again with the weights of stage 2 and answers with its best member
within the budget. Least used: of the budgets, by the router's answers; none
may be exceeded."""


def stage2_config(
    variant: str, seed: int, checkpoint: str, front: Path
) -> Config:
    """The config of a training."""
    with READING:
        cfg = read_config(f'configs/eavit/{STAGE2}.py')
    cfg.merge_from_dict(VARIANTS[variant])
    cfg.randomness.seed = seed
    cfg.load_from = checkpoint
    cfg.model.router.front = str(front)
    first = run_config(DEFAULT, REGIME, seed)
    cfg.model.backbone.space = first.model.backbone.space
    if variant == CONTROL:
        cfg.model.router = None
        cfg.model.sampler = first.model.sampler
        (level,) = (
            hook['levels'][-1]
            for hook in first.custom_hooks
            if hook['type'] == 'eavit_mm.CurriculumHook'
        )
        cfg.custom_hooks = [
            dict(type='eavit_mm.CurriculumHook', levels=[dict(level, begin=0)])
        ]
    return cfg


def supernet_and_front(seed: int, folder: Path) -> tuple[str, Path]:
    """Checkpoint of a seed's supernet, and the front of its search."""
    first = run_config(DEFAULT, REGIME, seed)
    work_dir, checkpoint = train(first, folder)
    found = work_dir / f'search_{config_hash(first)}'
    found.mkdir(exist_ok=True)
    front = found / 'pareto.json'
    if not front.exists():
        cfg = search_config(PARTITION, 0)
        cfg.randomness.seed = seed
        search(cfg, f'{PARTITION}, supernet {seed}', checkpoint, found)
    return checkpoint, front


def budgets() -> list[float]:
    """Shares of the largest subnet's MACs, where all sources have answers."""
    low, high = macs_range(uniform=True)
    shares = np.linspace(low / high, 1, BUDGETS)
    # Rounded up: the lowest is that of a network.
    return [float(np.ceil(1e4 * share) / 1e4) for share in shares]


def answers(
    cfg: Config, checkpoint: str, work_dir: Path, source: str
) -> list[tuple[float, float, float]]:
    """Budget, used share of the MACs and accuracy, on the test split."""
    config, out = work_dir / 'eval.py', work_dir / f'{source}.json'
    write_atomically(cfg.pretty_text.encode(), config)
    asked = ('--budgets', *map(str, budgets()), '--by', source)
    shared = ('--work-dir', str(work_dir), '--out', str(out))
    log = work_dir / LOG
    call('tools/test.py', str(config), checkpoint, *asked, *shared, log=log)
    return [
        (float(row['budget']), row['macs_ratio'], row['metrics'][METRIC])
        for row in json.loads(out.read_text())['subnets']
    ]


def area(found: Sequence[tuple[float, float, float]]) -> float:
    """Under accuracy over budget, per unit of budget."""
    asked, _, accuracy = zip(*found, strict=True)
    whole = np.trapezoid(accuracy, asked)
    return float(whole / (asked[-1] - asked[0]))


def curve(
    found: Sequence[tuple[float, float, float]],
) -> tuple[list[float], list[float]]:
    """Accuracies over the shares of the MACs that answers really take."""
    values = {used: accuracy for _, used, accuracy in found}
    shares = sorted(values)
    return shares, [values[share] for share in shares]


def lead(
    own: Sequence[tuple[float, float, float]],
    other: Sequence[tuple[float, float, float]],
) -> float:
    """By how much one's area is larger, over the MACs that both cover.

    Between two networks accuracy is taken to be on a straight line, though
    nobody can have what lies there; unlike over budgets, who leaves a part of
    them unused loses nothing.
    """
    curves = curve(own), curve(other)
    low = max(shares[0] for shares, _ in curves)
    high = min(shares[-1] for shares, _ in curves)
    inside = {x for shares, _ in curves for x in shares if low < x < high}
    at = [low, *sorted(inside), high]
    first, second = (np.interp(at, *values) for values in curves)
    return float(np.trapezoid(first - second, at)) / (high - low)


def record(variant: str, seed: int, folder: Path) -> dict[str, Any]:
    """What the page needs of one training; measured once."""
    checkpoint, front = supernet_and_front(seed, folder)
    cfg = stage2_config(variant, seed, checkpoint, front)
    # The router's answers are measured on the images kept for the search.
    work_dir, last = train(cfg, folder, validate=True)
    done = work_dir / 'record.json'
    if not done.exists():
        write_json(measure(variant, seed, cfg, last, work_dir), done)
    print(f'{variant}, seed {seed}: measured', flush=True)
    found: dict[str, Any] = json.loads(done.read_text())
    return found


def measure(
    variant: str, seed: int, cfg: Config, checkpoint: str, work_dir: Path
) -> dict[str, Any]:
    """Answers of all sources, and their areas."""
    tested = Config(cfg.to_dict())
    sources = SOURCES if variant == PLAIN else (ROUTER, FRONT)
    if variant == CONTROL:
        _, front = supernet_and_front(seed, work_dir.parent)
        router = dict(type='eavit_mm.RouterHead', front=str(front))
        tested.model.router = router
        sources = (FRONT, UNIFORM)
    found = {s: answers(tested, checkpoint, work_dir, s) for s in sources}
    return dict(
        variant=variant,
        seed=seed,
        hash=config_hash(cfg),
        commit=commit(),
        iterations=cfg.train_cfg.max_iters,
        answers=found,
        areas={source: area(values) for source, values in found.items()},
    )


def shares_of_budgets(found: Mapping[str, Any]) -> list[float]:
    """How much of each budget the router's answers use.

    Raises:
        ValueError: If a budget is exceeded.
    """
    shares = []
    for budget, used, _ in found['answers'].get(ROUTER, ()):
        if used > budget:
            raise ValueError(
                f'{found["variant"]}, seed {found["seed"]}: {used} of the '
                f'MACs for a budget of {budget}'
            )
        shares.append(used / budget)
    return shares


def page(records: Sequence[Mapping[str, Any]]) -> str:
    """The page made from the records, in Markdown."""
    rows = []
    for variant in VARIANTS:
        found = [r for r in records if r['variant'] == variant]
        if found:
            cells = [
                spread_text([r['areas'][s] for r in found])
                if s in found[0]['areas']
                else ''
                for s in SOURCES
            ]
            used = [share for r in found for share in shares_of_budgets(r)]
            cells.append(f'{min(used):.1%}' if used else '')
            rows.append([f'{variant} ({len(found)})', *cells])
    header = ['stage 2 (seeds)', *(f'by {source}' for source in SOURCES)]
    header += ['least used']
    parts = [INTRO, table(header, rows), rivals_section(records)]
    parts.append('![by budget](stage2.png)')
    each = [
        f'{variant}: {commits(found)}'
        for variant in VARIANTS
        if (found := [r for r in records if r['variant'] == variant])
    ]
    return '\n\n'.join([*parts, f'Commits: {"; ".join(each)}.'])


def rivals_section(records: Sequence[Mapping[str, Any]]) -> str:
    """How far the router's area is above others', seed by seed."""

    def by_seed(variant: str, source: str) -> dict[int, Any]:
        return {
            r['seed']: r['answers'][source]
            for r in records
            if r['variant'] == variant
        }

    own = by_seed(PLAIN, ROUTER)
    rows = []
    for name, rival in RIVALS.items():
        other = by_seed(*rival)
        pairs = [(own[s], other[s]) for s in sorted(own) if s in other]
        if not pairs:
            continue
        row = [name]
        for values in (
            [area(a) - area(b) for a, b in pairs],
            [lead(a, b) for a, b in pairs],
        ):
            each = ' '.join(f'{value:+.2f}' for value in values)
            row += [spread_text(values), each]
        rows.append(row)
    header = ['the router over', 'over budgets', 'seed by seed']
    header += ['over the MACs taken', 'seed by seed']
    return table(header, rows)


def write_report(records: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Writes stage2.md and its figure into a folder."""
    _, whole = macs_range()
    found = [r for r in records if r['variant'] == PLAIN]
    curves = {}
    for source in SOURCES:
        values = np.mean([r['answers'][source] for r in found], axis=0)
        curves[f'by {source}'] = [(b * whole, a) for b, _, a in values]
    plot_metric_over_macs(
        curves,
        folder / 'stage2.png',
        'accuracy (%)',
        'Stage 2, test split: accuracy for a budget',
    )
    return publish(page(records), folder / 'stage2.md')


def run_arguments(description: str | None) -> tuple[argparse.Namespace, Path]:
    """Arguments of a script that trains stage 2, and its runs' folder."""
    parser = argparse.ArgumentParser(description=description)
    add_run_arguments(parser, seeds=3)
    args = parser.parse_args()
    macs_range(uniform=True)  # once, before threads ask for it
    return args, Path(args.work_dir).absolute()


def main() -> None:
    args, folder = run_arguments(__doc__)
    with ThreadPoolExecutor(args.jobs) as pool:
        list(
            pool.map(lambda seed: supernet_and_front(seed, folder), args.seeds)
        )
        futures = [
            pool.submit(record, variant, seed, folder)
            for seed in args.seeds
            for variant in VARIANTS
        ]
        records = []
        for future in futures:
            records.append(future.result())
            write_json(records, RECORDS)
            write_report(records, FOLDER)


if __name__ == '__main__':
    main()
