"""Trains and evaluates the methods on Fashion-40, for equal training MACs.

Every run is resumed where it was killed, and not repeated while its record
in docs/benchmark/ has the hash of its config.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

import eavit_mm  # noqa: F401
from benchmarks.cost import training_cost, with_cost, with_length
from benchmarks.methods import ADAPTED, METHODS, REGIMES, method_configs
from benchmarks.pages import FOLDER, ROOT, commit
from benchmarks.report import write_report
from eavit_mm.engine.checkpoint import last_checkpoint
from eavit_mm.files import write_atomically, write_json

PASSES = 300_000
RECORDS = FOLDER / 'accuracy.json'
INTRO = f"""# Accuracy on Fashion-40

Made by `make benchmark` from [accuracy.json](accuracy.json), which has the
config's hash, commit, seed and cost of every run. Accuracy in per cent on the
test split (10,000 images), which training never sees: mean and standard
deviation over seeds. ViT-mini, pretrained on the other half of Fashion-MNIST;
networks of uniform width, no search. Every method but the dense networks costs
the forward-backward MACs of {PASSES:,} image passes of the whole network, a
teacher's forward included. A dense network is the first units of the sorted
pretrained one, trained alone for {PASSES:,} passes at half of the others'
learning rate (a quarter serves the whole one as well); all four together cost
1.7 times a run of the others. fashion40_small is the first 2,000 of the
training images; there the elastic networks train with drop path 0.1, the dense
ones, which gained nothing from it in a trial, without. Scala's networks and
those `apart`, which are of Scala's four widths, start from random weights;
those of `{ADAPTED}` do not. All four apart cost together what a run costs.
Where there are fewer than 3 seeds, runs are still to come."""
# One thread each: two runs side by side are faster than one on two threads.
ENV = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONWARNINGS': 'ignore'}
_RECORDING = threading.Lock()
# Threads must not race: reading a config imports modules, and its length is
# settled by draws whose seed is one for the process.
READING = threading.Lock()
LOG = 'log.txt'
# The keys of a config that change its results.
HASHED = (
    'model',
    'data_preprocessor',
    'train_dataloader',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'custom_hooks',
    'randomness',
    'test_dataloader',
    'test_cfg',
)


def run_config(method: str, regime: str, seed: int) -> Config:
    """The whole config of a run, or of its last phase."""
    return run_configs(method, regime, seed)[-1]


def run_configs(method: str, regime: str, seed: int) -> list[Config]:
    """Those of all its phases, each of which begins with the last one's."""
    with READING:
        return deepcopy(_settle(method, regime, seed))


@cache
def _settle(method: str, regime: str, seed: int) -> list[Config]:
    cfgs = method_configs(METHODS[method], regime, seed)
    images = METHODS[method].images
    if images is None:
        return with_cost(cfgs, PASSES)
    sizes = [cfg.train_dataloader.batch_size for cfg in cfgs]
    lengths = [round(images * PASSES / size) for size in sizes]
    return list(map(with_length, cfgs, lengths))


def run_hash(cfgs: Sequence[Config]) -> str:
    """One hash of the configs of all phases."""
    codes = [config_hash(cfg) for cfg in cfgs]
    text = ''.join(codes).encode()
    return hashlib.sha256(text).hexdigest()[:16] if codes[1:] else codes[0]


def config_hash(cfg: Config, keys: Sequence[str] = HASHED) -> str:
    """A hash of what the result depends on, wherever the checkout lies."""
    parts = Config({key: cfg.get(key) for key in keys}).to_dict()
    # Not `pretty_text`: it breaks lines by the length of the paths in it.
    text = json.dumps(parts, sort_keys=True).replace(str(ROOT), '')
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_records(path: Path = RECORDS) -> list[dict[str, Any]]:
    """What has been measured so far."""
    return json.loads(path.read_text()) if path.exists() else []


def add_record(record: dict[str, Any], path: Path = RECORDS) -> None:
    """Adds a run's results, in place of older ones of the same run."""
    key = ('method', 'regime', 'seed')
    with _RECORDING:
        kept = [
            old
            for old in read_records(path)
            if any(old[name] != record[name] for name in key)
        ]
        kept.append(record)
        kept.sort(key=lambda r: [r[name] for name in key])
        write_json(kept, path)


def call(script: str, *args: str, log: Path) -> None:
    """Runs a script of this repository."""
    command = [sys.executable, script, *args]
    with log.open('a') as file:
        done = subprocess.run(
            command, cwd=ROOT, env=ENV, stdout=file, stderr=file, check=False
        )
    if done.returncode:
        raise RuntimeError(f'{" ".join(command)} failed, see {log}')


def train(
    cfg: Config, folder: Path, validate: bool = False, code: str = ''
) -> tuple[Path, str]:
    """Trains a run, or goes on with it, unless it is complete.

    Args:
        cfg: The config of the run.
        folder: Where the work directories of all runs lie.
        validate: Whether to validate during the training.
        code: Name of its work directory; else the config's hash.

    Returns:
        Its work directory and its last checkpoint.
    """
    work_dir = folder / (code or config_hash(cfg))
    last = last_checkpoint(work_dir)
    whole = f'iter_{cfg.train_cfg.max_iters}.pth'
    if last and Path(last).name == whole:
        return work_dir, last
    work_dir.mkdir(parents=True, exist_ok=True)
    config = work_dir / 'config.py'
    write_atomically(cfg.pretty_text.encode(), config)
    options = ['--work-dir', str(work_dir), '--resume']
    if not validate:
        options.append('--no-validate')
    call('tools/train.py', str(config), *options, log=work_dir / LOG)
    return work_dir, str(last_checkpoint(work_dir))


def run(method: str, regime: str, seed: int, folder: Path) -> str:
    """Trains and evaluates one run, unless its record is there."""
    name = f'{method}, {regime}, seed {seed}'
    cfgs = run_configs(method, regime, seed)
    code = run_hash(cfgs)
    if any(record['hash'] == code for record in read_records()):
        return f'{name}: known'
    start = time.monotonic()
    checkpoint = None
    for number, cfg in enumerate(cfgs, start=1):
        cfg.load_from = checkpoint  # of the phase before
        phase = run_hash(cfgs[:number])
        work_dir, checkpoint = train(cfg, folder, code=phase)
    lengths = [each.train_cfg.max_iters for each in cfgs]
    results = {
        split: evaluate(cfg, split, checkpoint, work_dir)
        for split in ('test', 'val')
    }
    seconds = time.monotonic() - start
    add_record(
        dict(
            method=method,
            regime=regime,
            seed=seed,
            hash=code,
            commit=commit(),
            machine=f'{platform.machine()}, one thread, no GPU',
            iterations=lengths if lengths[1:] else lengths[0],
            passes=round(sum(map(training_cost, cfgs))),
            seconds=round(seconds),
            **results,
        )
    )
    return f'{name}: {seconds:.0f} s'


def evaluate(
    cfg: Config,
    split: str,
    checkpoint: str,
    work_dir: Path,
    metric: str = 'accuracy/top1',
) -> dict[str, tuple[int, float]]:
    """MACs and accuracy, or another metric, of networks on one split."""
    config, out = work_dir / 'eval.py', work_dir / f'{split}.json'
    text = evaluation_config(cfg, split).pretty_text
    write_atomically(text.encode(), config)
    shared = ('--work-dir', str(work_dir), '--out', str(out))
    call('tools/test.py', str(config), checkpoint, *shared, log=work_dir / LOG)
    return {
        row['name']: (row['macs'], row['metrics'][metric])
        for row in json.loads(out.read_text())['subnets']
    }


def evaluation_config(cfg: Config, split: str) -> Config:
    """Evaluates on the test split, or on the images kept for the search."""
    cfg = Config(cfg.to_dict())
    if split == 'val':
        cfg.test_dataloader = cfg.val_dataloader
    return cfg


def add_run_arguments(parser: argparse.ArgumentParser, seeds: int) -> None:
    """Which seeds run, how many runs at once, and where."""
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[*range(seeds)]
    )
    parser.add_argument('--jobs', type=int, default=os.cpu_count())
    parser.add_argument('--work-dir', default='work_dirs/benchmark')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--methods', nargs='+', default=list(METHODS))
    parser.add_argument('--regimes', nargs='+', default=list(REGIMES))
    add_run_arguments(parser, seeds=3)
    parser.add_argument(
        '--report', action='store_true', help='only write the report'
    )
    args = parser.parse_args()
    if args.report:
        write_report(read_records(), FOLDER, INTRO)
        return
    folder = Path(args.work_dir).absolute()
    with ThreadPoolExecutor(args.jobs) as pool:
        futures = [
            pool.submit(run, method, regime, seed, folder)
            for seed in args.seeds
            for regime in args.regimes
            for method in args.methods
        ]
        for future in futures:
            print(future.result(), flush=True)
    write_report(read_records(), FOLDER, INTRO)


if __name__ == '__main__':
    main()
