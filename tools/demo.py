"""The main job on data that ships in a package, in a few minutes.

A ViT-mini pretrained on Fashion-MNIST becomes elastic on handwritten digits:
its units are sorted, stage 1 trains nested subnets, every budget gets a
network, and a search finds the Pareto front. Beside it, the same slices of a
plainly fine-tuned network.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from eavit_mm.analysis.plots import plot_metric_over_macs
from eavit_mm.files import write_json

ROOT = Path(__file__).resolve().parents[1]
RUNS = dict(
    elastic='configs/eavit/vitmini_digits.py',
    plain='configs/eavit/vitmini_digits_dense.py',
)
BUDGETS = ('1.0', '0.75', '0.5', '0.4', '0.3', '0.2', '0.1', '0.05')
# What the README promises for the elastic network: budget -> accuracy.
PROMISED = {'1.0': 98.0, '0.5': 97.0, '0.2': 94.0}
METRIC = 'accuracy/top1'
# Lines of the training log that the terminal shows.
SHOWN = ('Epoch(val)', 'Curriculum level', 'Rearranged by', 'Search [')


def run(name: str, command: list[str], log: Path) -> None:
    """Runs a command of this repository; shows what matters of its log."""
    print(f'[{name}] $ python {" ".join(command)}', flush=True)
    # Both networks train at once: each takes its share of the cores.
    threads = max(1, (os.cpu_count() or 2) // len(RUNS))
    with (
        log.open('w') as file,
        subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, 'OMP_NUM_THREADS': str(threads)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            if any(mark in line for mark in SHOWN):
                text = line.split('INFO - ')[-1].strip()
                print(f'[{name}] {text}', flush=True)
    if process.returncode:
        tail = ''.join(log.read_text().splitlines(keepends=True)[-15:])
        raise RuntimeError(f'{tail}\nfailed, see {log}')


def adapt(name: str, work_dir: Path, options: list[str]) -> dict[str, Any]:
    """Trains a config and evaluates its budgets; returns the results."""
    folder = work_dir / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shared = ['--work-dir', str(folder)]
    if options:
        shared += ['--cfg-options', *options]
    train = ['tools/train.py', RUNS[name], *shared]
    run(name, train, work_dir / f'{name}.log')
    checkpoint = (folder / 'last_checkpoint').read_text()
    test = ['tools/test.py', RUNS[name], checkpoint, '--budgets', *BUDGETS]
    run(name, [*test, *shared], work_dir / f'{name}_test.log')
    return json.loads((folder / 'subnets.json').read_text())


def search(work_dir: Path, options: list[str]) -> dict[str, Any]:
    """Searches the elastic network; returns the front."""
    folder = work_dir / 'search'
    shutil.rmtree(folder, ignore_errors=True)
    checkpoint = (work_dir / 'elastic/last_checkpoint').read_text()
    command = ['tools/search.py', RUNS['elastic'], checkpoint]
    command += ['--work-dir', str(folder), '--cfg-options', *options]
    run('search', command, work_dir / 'search.log')
    return json.loads((folder / 'pareto.json').read_text())


def accuracies(result: dict[str, Any]) -> dict[str, float]:
    """Budget to accuracy."""
    return {row['name']: row['metrics'][METRIC] for row in result['subnets']}


def show(results: dict[str, dict[str, Any]], seconds: float) -> None:
    """Prints the table of both networks."""
    elastic, plain = (accuracies(results[name]) for name in RUNS)
    table = Table(title='Digits, test split: accuracy of one checkpoint')
    for header in ('budget', 'MACs used', 'M params', 'elastic', 'plain'):
        table.add_column(header, justify='right')
    for row in results['elastic']['subnets']:
        name = row['name']
        table.add_row(
            f'{float(name):.0%}',
            f'{row["macs_ratio"]:.1%}',
            f'{row["params"] / 1e6:.3f}',
            f'{elastic[name]:.1f}',
            f'{plain[name]:.1f}',
        )
    Console(width=80).print(table)
    print(
        'elastic: one adaptation run (stage 1). plain: the same slices of '
        f'the network fine-tuned whole.\n{seconds / 60:.1f} minutes.'
    )


def missed(result: dict[str, Any]) -> list[str]:
    """Promises that a result does not keep."""
    found = accuracies(result)
    return [
        f'{float(budget):.0%} of the MACs: {found[budget]:.1f} < {least}'
        for budget, least in PROMISED.items()
        if found[budget] < least
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', default='work_dirs/demo')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--check',
        action='store_true',
        help='fail if the accuracy is below what the README promises',
    )
    args = parser.parse_args()
    start = time.monotonic()
    work_dir = Path(args.work_dir).absolute()
    work_dir.mkdir(parents=True, exist_ok=True)
    options = [f'randomness.seed={args.seed}']
    with ThreadPoolExecutor(len(RUNS)) as pool:
        futures = {
            name: pool.submit(adapt, name, work_dir, options) for name in RUNS
        }
        results = {name: future.result() for name, future in futures.items()}
    write_json(results, work_dir / 'demo.json')
    curves = {
        label: [
            (row['macs'], row['metrics'][METRIC])
            for row in results[name]['subnets']
        ]
        for name, label in dict(
            elastic='elastic (stage 1)',
            plain='slices of plain fine-tuning',
        ).items()
    }
    figure = plot_metric_over_macs(
        curves, work_dir / 'demo.png', 'accuracy (%)', 'Digits, test split'
    )
    front = search(work_dir, options)
    show(results, time.monotonic() - start)
    print(
        f'Figure: {figure}\nResults: {work_dir / "demo.json"}\n'
        f'Pareto front: {len(front["members"])} of {front["evaluations"]} '
        f'evaluated subnets, {work_dir / "search"}/pareto.json and .png'
    )
    if args.check and missed(results['elastic']):
        raise SystemExit('; '.join(missed(results['elastic'])))


if __name__ == '__main__':
    main()
