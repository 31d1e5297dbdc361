"""Adaptations of a really pretrained ViT to real photographs.

A run is all of one data set and seed: the whole network fine-tuned alone,
stage 1, search, stage 2, and one exported network in the toolbox's own tools.
What a run has done is not repeated.
"""

import argparse
import json
import os
import platform
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

import eavit_mm  # noqa: F401
from benchmarks.accuracy import (
    LOG,
    READING,
    add_record,
    add_run_arguments,
    call,
    config_hash,
    evaluate,
    read_records,
    train,
)
from benchmarks.cost import CURRICULUM, with_length
from benchmarks.methods import read_config
from benchmarks.pages import ROOT, commit
from benchmarks.search import SEARCHED, search
from benchmarks.stage2 import FRONT, ROUTER, UNIFORM
from eavit_mm.engine.checkpoint import load_supernet
from eavit_mm.engine.cli import build_supernet
from eavit_mm.files import write_atomically, write_json
from eavit_mm.models import BudgetSolver
from eavit_mm.space import Budget

# Holds the data sets' folders and the pretrained weights.
DATA = Path(os.environ.get('EAVIT_DATA', ROOT / 'data')).absolute()
METHOD = 'EA-ViT'
# Shares of the largest network's MACs; the claims are about four of them.
BUDGETS = (0.25, 0.3, 0.4, 0.5, 0.625, 0.75, 0.875, 1.0)
EXPORTED = 0.5
DENSE, STAGE1, STAGE2 = 'dense', 'stage1', 'stage2'
# Who answers budgets, by the stage whose weights are tested.
SOURCES = {
    DENSE: (UNIFORM,),
    STAGE1: (FRONT, UNIFORM),
    STAGE2: (ROUTER, FRONT, UNIFORM),
}


@dataclass(frozen=True)
class Task:
    """What is adapted to, and how it is measured.

    Attributes:
        sets: Name to the config of stage 1; that of stage 2 lies beside it.
        module: Of the command that runs it.
        records: File of what was measured.
        metric: Name of a number of the evaluator.
        part: What of the model budgets limit.
        test: The toolbox's own test tool.
    """

    sets: Mapping[str, str]
    module: str
    records: Path
    metric: str
    part: str
    test: Path


def configs_of(path: str, seed: int) -> dict[str, Config]:
    """Stage name to its config; what stage 2 begins with is not known yet."""
    with READING:
        first = read_config(path)
        second = read_config(path.replace('.py', '_stage2.py'))
    for cfg in (first, second):
        cfg.randomness.seed = seed
        cfg.search_cfg.update(seed=seed, threads=1)
        cfg.optim_wrapper.type = 'eavit_mm.CpuAmpOptimWrapper'
    lengths = [cfg.train_cfg.max_iters for cfg in (first, second)]
    return {
        DENSE: dense_of(first, sum(lengths)),
        STAGE1: first,
        STAGE2: second,
    }


def dense_of(first: Config, max_iters: int) -> Config:
    """The whole network alone, for so long; its units are sorted as well."""
    cfg = with_length(first, max_iters)
    cfg.model.sampler = dict(type='eavit_mm.LargestSampler')
    hooks = [h for h in cfg.custom_hooks if h['type'] != CURRICULUM]
    cfg.custom_hooks = hooks
    return cfg


def hash_of(configs: Mapping[str, Config]) -> str:
    """One hash of what the results of a run depend on."""
    parts: dict[str, Any] = {
        name: {key: cfg.get(key) for key in SEARCHED}
        for name, cfg in configs.items()
    }
    parts['budgets'] = list(BUDGETS)
    return config_hash(Config(parts), list(parts))


def placed(cfg: Config) -> Config:
    """The config with data and weights where they lie here."""
    text = cfg.pretty_text
    for folder in ('data', 'checkpoints'):
        text = text.replace(f"'{folder}/", f"'{DATA}/")
    with READING:
        return Config.fromstring(text, '.py')


def run(task: Task, name: str, seed: int, folder: Path) -> str:
    """Trains and tests one run, unless its record is there.

    What is measured is recorded stage by stage.
    """
    label = f'{name}, seed {seed}'
    configs = configs_of(task.sets[name], seed)
    code = hash_of(configs)
    for known in read_records(task.records):
        if known['hash'] == code and known['exported'] is not None:
            return f'{label}: known'
    record: dict[str, Any] = dict(
        method=METHOD,
        regime=name,
        seed=seed,
        hash=code,
        commit=commit(),
        machine=f'{platform.machine()}, one thread, no GPU',
        command=f'python -m {task.module} --sets {name} --seeds {seed}',
        iterations={k: c.train_cfg.max_iters for k, c in configs.items()},
        answers={},
        exported=None,
    )
    checkpoint, front = '', None
    for stage, cfg in configs.items():
        cfg = placed(cfg)
        if stage == STAGE2:
            cfg.load_from, cfg.model.router.front = checkpoint, str(front)
        # The router's answers are measured on the images kept for the search.
        work_dir, checkpoint = train(cfg, folder, validate=stage == STAGE2)
        # Another search, or other budgets, of the same training.
        measured = work_dir / hash_of({stage: cfg})
        measured.mkdir(exist_ok=True)
        front = None
        if stage == STAGE1:
            front = searched(cfg, label, checkpoint, measured)
        found = answers_of(task, stage, cfg, measured, checkpoint, front)
        record['answers'][stage] = found
        add_record(record, task.records)
    record['exported'] = stock_metric(task, cfg, measured, checkpoint)
    add_record(record, task.records)
    return f'{label}: measured'


def searched(cfg: Config, label: str, checkpoint: str, folder: Path) -> Path:
    """The front of a supernet."""
    found = folder / 'search'
    found.mkdir(exist_ok=True)
    front = found / 'pareto.json'
    if not front.exists():
        search(cfg, label, checkpoint, found)
    return front


def answers_of(
    task: Task,
    stage: str,
    cfg: Config,
    folder: Path,
    checkpoint: str,
    front: Path | None = None,
) -> dict[str, list[tuple[float, int, float]]]:
    """Budget, MACs of the part and metric by source; measured once."""
    done = folder / 'answers.json'
    if done.exists():
        return dict(json.loads(done.read_text()))
    with READING:
        model = build_supernet(Config(cfg.to_dict()), task.module)
    load_supernet(model, checkpoint)
    solver = BudgetSolver(model, part=task.part, front=front)
    subnets = {
        (source, budget): solver([Budget.parse(budget)], source)
        for source in SOURCES[stage]
        for budget in BUDGETS
    }
    tested = Config(cfg.to_dict())
    # A subnet that is asked for twice is tested once.
    tested.test_cfg.subnets = {
        f'{source} {budget}': subnet.to_dict()
        for (source, budget), subnet in subnets.items()
    }
    found = evaluate(tested, 'test', checkpoint, folder, task.metric)
    answers: dict[str, list[tuple[float, int, float]]] = defaultdict(list)
    for (source, budget), subnet in subnets.items():
        macs = model.macs(subnet)[task.part]
        value = found[f'{source} {budget}'][1]
        answers[source].append((budget, macs, value))
    write_json(answers, done)
    return answers


def stock_metric(
    task: Task, cfg: Config, folder: Path, checkpoint: str
) -> float:
    """The metric of an exported network by the toolbox's own tool."""
    out, tested, log = folder / 'exported', folder / 'stock', folder / LOG
    config = folder / 'config.py'
    write_atomically(cfg.pretty_text.encode(), config)
    asked = ('--budget', str(EXPORTED), '--part', task.part)
    saved = ('--out', str(out))
    call('tools/export.py', str(config), checkpoint, *asked, *saved, log=log)
    network = (str(out / 'config.py'), str(out / 'model.pth'))
    call(str(task.test), *network, '--work-dir', str(tested), log=log)
    last = max(tested.glob('*/*.json'))
    return float(json.loads(last.read_text())[task.metric])


def run_all(task: Task, description: str | None) -> None:
    """Runs what the command line asks for, unless it is the page alone."""
    parser = argparse.ArgumentParser(description=description)
    names = list(task.sets)
    parser.add_argument('--sets', nargs='+', default=names, choices=names)
    add_run_arguments(parser, seeds=3)
    parser.add_argument(
        '--report', action='store_true', help='only write the page'
    )
    args = parser.parse_args()
    if args.report:
        return
    if not DATA.is_dir():
        parser.error(f'no folder {DATA}: EAVIT_DATA names that of the data')
    folder = Path(args.work_dir).absolute()
    with ThreadPoolExecutor(args.jobs) as pool:
        futures = [
            pool.submit(run, task, name, seed, folder)
            for seed in args.seeds
            for name in args.sets
        ]
        for future in futures:
            print(future.result(), flush=True)
