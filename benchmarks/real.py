"""Adaptations of a really pretrained ViT to real photographs.

A run is all stages of a method on one data set with one seed, their searches,
and one exported network in the toolbox's own tools. What a run has done is
not repeated.
"""

import argparse
import json
import os
import platform
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

import torch
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
from benchmarks.cost import routed_share, with_cost, with_length
from benchmarks.methods import read_config
from benchmarks.pages import ROOT, commit
from benchmarks.search import SEARCHED, members_in, search
from benchmarks.stage2 import FRONT, ROUTER, UNIFORM
from eavit_mm.engine.checkpoint import load_supernet
from eavit_mm.engine.cli import build_supernet
from eavit_mm.engine.optim import computes_bfloat16
from eavit_mm.files import write_atomically, write_json
from eavit_mm.models import BudgetSolver
from eavit_mm.space import Budget
from eavit_mm.space.pareto import Member

# Holds the data sets' folders and the pretrained weights.
DATA = Path(os.environ.get('EAVIT_DATA', ROOT / 'data')).absolute()
EXPORTED = 0.5
CHOSEN = 'chosen.json'
EA_VIT = 'EA-ViT'
DENSE, STAGE1, STAGE2 = 'dense', 'stage1', 'stage2'


@dataclass(frozen=True)
class Task:
    """What is adapted to, by what, and how it is measured.

    Attributes:
        sets: Names of the data sets.
        methods: Method to its stages in order, by name: the paths of their
            configs, {} being the set. A stage whose config names weights to
            load begins with those of the stage before it.
        alone: Stages that train one network alone, its units sorted: the
            share of the widths that it has.
        options: What else is changed in the config of a stage, by its name.
        module: Of the command that runs it.
        records: File of what was measured.
        metric: Name of a number of the evaluator.
        part: What of the model budgets limit.
        budgets: Shares of the largest network's MACs.
        test: The toolbox's own test tool.
        passes: What the stages of a method cost together, in images through
            the whole network and back, teachers included. None: stages have
            the length that their configs say, and networks alone as many
            images as EA-ViT's stages together.
        times: Methods that cost so many times as much.
        images: Of a search, where its cost is counted.
    """

    sets: Sequence[str]
    methods: Mapping[str, Mapping[str, str]]
    alone: Mapping[str, float]
    options: Mapping[str, Mapping[str, Any]]
    module: str
    records: Path
    metric: str
    part: str
    budgets: Sequence[float]
    test: Path
    passes: int | None = None
    times: Mapping[str, float] = field(default_factory=dict)
    images: int = 400

    def passes_of(self, method: str) -> int:
        """What the stages of a method cost; 0: their configs have a length."""
        return round((self.passes or 0) * self.times.get(method, 1))


def configs_of(
    task: Task, method: str, name: str, seed: int
) -> dict[str, Config]:
    """Stage to its config; what a stage begins with is not known yet."""
    with READING:
        configs = {
            stage: read_config(path.format(name))
            for stage, path in task.methods[method].items()
        }
        for stage, cfg in configs.items():
            cfg.randomness.seed = seed
            cfg.search_cfg.update(seed=seed, threads=1)
            cfg.optim_wrapper.type = 'eavit_mm.CpuAmpOptimWrapper'
            if stage in task.alone:
                set_alone(cfg, task.alone[stage])
            cfg.merge_from_dict(dict(task.options.get(stage, {})))
        if task.passes is None:
            paths = task.methods[EA_VIT]
            length = sum(
                read_config(path.format(name)).train_cfg.max_iters
                for stage, path in paths.items()
                if stage not in task.alone
            )
            return {
                stage: with_length(cfg, length) if stage in task.alone else cfg
                for stage, cfg in configs.items()
            }
        lengths = {k: cfg.train_cfg.max_iters for k, cfg in configs.items()}
        each = task.passes_of(method) / sum(lengths.values())
        return {
            stage: of_cost(cfg, each * lengths[stage])
            for stage, cfg in configs.items()
        }


def set_alone(cfg: Config, share: float) -> None:
    """Trains one network of uniform width; without a curriculum."""
    cfg.model.sampler = (
        dict(type='eavit_mm.LargestSampler')
        if share == 1
        else dict(type='eavit_mm.FixedListSampler', subnets=[share])
    )
    order = dict(type='eavit_mm.ActivationCriterion')
    cfg.custom_hooks = [dict(type='eavit_mm.RearrangeHook', criterion=order)]


def of_cost(cfg: Config, passes: float) -> Config:
    """The stage of so many images through the whole network and back."""
    if cfg.model.get('router'):
        cost = cfg.train_dataloader.batch_size * routed_share(cfg)
        return with_length(cfg, round(passes / cost))
    (cfg,) = with_cost([cfg], round(passes))
    return cfg


def hash_of(task: Task, configs: Mapping[str, Config]) -> str:
    """One hash of what the results of a run, or of a stage, depend on."""
    parts: dict[str, Any] = {
        name: {key: cfg.get(key) for key in SEARCHED}
        for name, cfg in configs.items()
    }
    parts['budgets'] = list(task.budgets)
    return config_hash(Config(parts), list(parts))


def placed(cfg: Config) -> Config:
    """The config with data and weights where they lie here, for its device."""
    text = cfg.pretty_text
    for folder in ('data', 'checkpoints'):
        text = text.replace(f"'{folder}/", f"'{DATA}/")
    with READING:
        found = Config.fromstring(text, '.py')
    if torch.cuda.is_available():
        found.optim_wrapper.update(type='AmpOptimWrapper', dtype='bfloat16')
    return found


def machine() -> str:
    """What a run trains on."""
    is_gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if is_gpu else 'no GPU'
    dtype = 'bfloat16' if is_gpu or computes_bfloat16() else 'float32'
    return f'{platform.machine()}, one thread, {device}, {dtype}'


def run(task: Task, method: str, name: str, seed: int, folder: Path) -> str:
    """Trains and tests one run, unless its record is there.

    What is measured is recorded stage by stage.
    """
    label = f'{method}, {name}, seed {seed}'
    configs = configs_of(task, method, name, seed)
    code = hash_of(task, configs)
    is_cut = task.alone.get(method, 1) < 1
    for known in read_records(task.records):
        whole = known['exported'] is not None or is_cut
        if known['hash'] == code and whole:
            return f'{label}: known'
    asked = f'--methods {quote(method)} --sets {name} --seeds {seed}'
    record: dict[str, Any] = dict(
        method=method,
        regime=name,
        seed=seed,
        hash=code,
        commit=commit(),
        machine=machine(),
        command=f'python -m {task.module} {asked}',
        iterations={k: c.train_cfg.max_iters for k, c in configs.items()},
        answers={},
        forwards={},
        exported=None,
    )
    stages = list(configs)
    checkpoint, front = '', None
    for stage, following in zip(stages, [*stages[1:], None], strict=True):
        cfg = placed(configs[stage])
        router = cfg.model.get('router')
        if cfg.get('load_from'):
            cfg.load_from = checkpoint
        if router and router.get('front'):
            router.front = str(front)
        # The router's answers are measured on the images kept for the search.
        work_dir, checkpoint = train(cfg, folder, validate=bool(router))
        if following and goes_on(configs[following]):
            continue
        # Another search, or other budgets, of the same training.
        measured = work_dir / hash_of(task, {stage: cfg})
        measured.mkdir(exist_ok=True)
        front = None
        if stage not in task.alone and not router:
            front = searched(cfg, label, checkpoint, measured)
        found = answers_of(task, stage, cfg, measured, checkpoint, front)
        record['answers'][stage] = found
        if task.passes and stage not in task.alone:
            members, whole = measured_by(task, cfg, checkpoint, front)
            spent = cost_of(members, whole, task.images)
            record['forwards'][stage] = spent / task.passes_of(method)
        if router:
            chosen = (measured / CHOSEN).read_text()
            record['chosen'] = json.loads(chosen)
        add_record(record, task.records)
    if not is_cut:
        record['exported'] = stock_metric(task, cfg, measured, checkpoint)
        add_record(record, task.records)
    return f'{label}: measured'


def goes_on(cfg: Config) -> bool:
    """Whether a stage trains on what the one before it is not asked for."""
    router = cfg.model.get('router')
    return bool(cfg.get('load_from')) and not (router and router.get('front'))


def searched(cfg: Config, label: str, checkpoint: str, folder: Path) -> Path:
    """The front of a supernet."""
    found = folder / 'search'
    found.mkdir(exist_ok=True)
    front = found / 'pareto.json'
    if not front.exists():
        search(cfg, label, checkpoint, found)
    return front


def measured_by(
    task: Task, cfg: Config, checkpoint: str, front: Path | None
) -> tuple[list[Member], int]:
    """The subnets of a search, or those that a router's stage measured.

    With the MACs of the largest.
    """
    with READING:
        model = build_supernet(Config(cfg.to_dict()), task.module)
    whole = model.macs(model.backbone.space.largest)['total']
    if front:
        return members_in(front.parent), whole
    load_supernet(model, checkpoint)
    known = [each for part in model.router.evaluated.values() for each in part]
    return list({member.subnet: member for member in known}.values()), whole


def cost_of(members: Sequence[Member], whole: int, images: int) -> float:
    """Forward passes of subnets, in images through the whole network and back.

    Three forward passes cost as much as one forward and backward.
    """
    used = (max(map(int, m.parts or [images])) * m.macs for m in members)
    return sum(used) / (3 * whole)


def answers_of(
    task: Task,
    stage: str,
    cfg: Config,
    folder: Path,
    checkpoint: str,
    front: Path | None = None,
) -> dict[str, list[tuple[float, int, float]]]:
    """Budget, MACs of the part and metric by source; measured once.

    Budgets that no network of the method fits are left out.
    """
    done = folder / 'answers.json'
    if done.exists():
        return dict(json.loads(done.read_text()))
    with READING:
        model = build_supernet(Config(cfg.to_dict()), task.module)
    load_supernet(model, checkpoint)
    solver = BudgetSolver(model, part=task.part, front=front)
    space = model.backbone.space
    least, whole = (
        model.macs(each)[task.part] for each in (space.smallest, space.largest)
    )
    router = cfg.model.get('router')
    sources = [UNIFORM]
    if front or (router and router.get('front')):
        sources.insert(0, FRONT)
    if router:
        sources.insert(0, ROUTER)
    subnets = {
        (source, budget): solver([Budget.parse(budget)], source)
        for source in sources
        for budget in task.budgets
        if budget * whole >= least
    }
    if (share := task.alone.get(stage, 1)) < 1:
        subnets = {(UNIFORM, share): space.uniform(share)}
    if router:
        write_json(
            {
                budget: subnet.to_dict()
                for (source, budget), subnet in subnets.items()
                if source == ROUTER
            },
            folder / CHOSEN,
        )
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


def parse_runs(
    task: Task, description: str | None, seeds: int = 3
) -> argparse.Namespace:
    """What the command line asks for; ends where the data are not there."""
    parser = argparse.ArgumentParser(description=description)
    for option, names in (('sets', task.sets), ('methods', task.methods)):
        known = list(names)
        parser.add_argument(
            f'--{option}', nargs='+', default=known, choices=known
        )
    add_run_arguments(parser, seeds=seeds)
    parser.add_argument(
        '--report', action='store_true', help='only write the page'
    )
    args = parser.parse_args()
    if not args.report and not DATA.is_dir():
        parser.error(f'no folder {DATA}: EAVIT_DATA names that of the data')
    return args


def run_all(task: Task, description: str | None) -> None:
    """Runs what the command line asks for, unless it is the page alone."""
    args = parse_runs(task, description)
    if args.report:
        return
    folder = Path(args.work_dir).absolute()
    with ThreadPoolExecutor(args.jobs) as pool:
        futures = [
            pool.submit(run, task, method, name, seed, folder)
            for seed in args.seeds
            for name in args.sets
            for method in args.methods
        ]
        for future in futures:
            print(future.result(), flush=True)
