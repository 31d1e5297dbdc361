"""The main job on data that ships in a package, in a few minutes.

A ViT-mini pretrained on Fashion-MNIST becomes elastic on handwritten digits,
to name them or to segment them: tools/adapt.py sorts its units, trains nested
subnets, searches the Pareto front, trains the router, and exports networks for
two budgets. Then every budget gets a network. Beside it, the same slices of a
plainly fine-tuned network.
"""

import argparse


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    tasks = ['classification', 'segmentation']
    parser.add_argument('--task', choices=tasks, default=tasks[0])
    parser.add_argument('--work-dir', help='(default: work_dirs/demo[_seg])')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--check',
        action='store_true',
        help='fail if a network does not keep what the README promises',
    )
    return parser.parse_args()


if __name__ == '__main__':
    args = parse_args()  # --help is answered before the imports below

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.registry import DATASETS
from rich.console import Console
from rich.table import Table

from eavit_mm.analysis.plots import plot_metric_over_macs, plot_segmentation
from eavit_mm.apis import load, predict
from eavit_mm.engine.checkpoint import last_checkpoint
from eavit_mm.files import write_json
from eavit_mm.space.pareto import standard_error

ROOT = Path(__file__).resolve().parents[1]
# Name of a result to its label in the figure.
LABELS = dict(
    adapted='adapted: stage 2, by the router',
    uniform='adapted: stage 2, uniform widths',
    stage1='stage 1, uniform widths',
    plain='slices of plain fine-tuning',
)
EXPORTED = ('0.5', '0.2')
# What the README promises of the adapted network: the share of every budget
# that it uses, and for some budgets its accuracy or mIoU.
LEAST_USED = 0.85
# Standard errors of the test split by which it may be below the uniform
# network of a budget: of sixteen answers one was by 1.5, three digits of 450.
MOST_ERRORS = 2
DRAWN = 4  # canvases


class Task(NamedTuple):
    """What is another in each demo."""

    title: str  # of the table and the figures
    folder: str  # for the results
    adapted: str  # config of stage 2
    plain: str  # config of the control
    metric: str
    axis: str  # its name in the figure
    budgets: tuple[str, ...]
    least: dict[str, float]
    error: float = 0.0  # standard error of the metric; 0: of an accuracy
    drawn: tuple[str, ...] = ()  # budgets whose predictions are drawn


TASKS = dict(
    classification=Task(
        'Digits, test split',
        'work_dirs/demo',
        'configs/eavit/vitmini_digits_stage2.py',
        'configs/eavit/vitmini_digits_dense.py',
        'accuracy/top1',
        'accuracy (%)',
        ('1.0', '0.75', '0.5', '0.4', '0.3', '0.2', '0.1', '0.05'),
        least={'1.0': 98.0, '0.5': 97.0, '0.2': 94.0},
    ),
    segmentation=Task(
        'Digits on canvases, test split',
        'work_dirs/demo_seg',
        'configs/eavit_seg/vitmini_digits_seg_stage2.py',
        'configs/eavit_seg/vitmini_digits_seg_dense.py',
        'mIoU',
        'mIoU (%)',
        ('1.0', '0.75', '0.5', '0.4', '0.3', '0.2'),
        least={'1.0': 60.0, '0.5': 55.0, '0.2': 45.0},
        error=1.0,
        drawn=('1.0', '0.5', '0.2'),
    ),
)
# Lines of the logs that the terminal shows; the first are adapt's.
SHOWN = (
    '/6] ',
    'Epoch(val)',
    'Curriculum level',
    'Rearranged by',
    'Search [',
    'The router has',
    'Exported',
)


def run(name: str, command: list[str], log: Path) -> None:
    """Runs a command of this repository; shows what matters of its log."""
    print(f'[{name}] $ python {" ".join(command)}', flush=True)
    # Two networks train at once: each takes its share of the cores.
    threads = max(1, (os.cpu_count() or 2) // 2)
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


def test(
    task: Task,
    name: str,
    config: str | Path,
    checkpoint: str,
    work_dir: Path,
    *options: str,
) -> dict[str, Any]:
    """Evaluates the budgets with a checkpoint; returns the results."""
    out = work_dir / f'{name}.json'
    command = ['tools/test.py', str(config), checkpoint]
    command += ['--budgets', *task.budgets, '--out', str(out)]
    command += ['--work-dir', str(work_dir / 'test'), *options]
    run(name, command, work_dir / f'{name}_test.log')
    return json.loads(out.read_text())


def adapt(
    task: Task, work_dir: Path, options: list[str]
) -> dict[str, dict[str, Any]]:
    """All stages; the budgets after the first and after the last.

    After the last, uniform networks answer them too: of the same weights, they
    show what the router's choice is worth.
    """
    folder = work_dir / 'adapt'
    shutil.rmtree(folder, ignore_errors=True)
    command = ['tools/adapt.py', task.adapted, '--work-dir', str(folder)]
    command += ['--budgets', *EXPORTED, '--cfg-options', *options]
    run('adapt', command, work_dir / 'adapt.log')
    results = {}
    for name, stage, *by in (
        ('stage1', 'stage1'),
        ('adapted', 'stage2'),
        ('uniform', 'stage2', '--by', 'uniform'),
    ):
        checkpoint = last_checkpoint(folder / stage)
        config = folder / f'{stage}.py'
        results[name] = test(task, name, config, checkpoint, work_dir, *by)
    return results


def plain(
    task: Task, work_dir: Path, options: list[str]
) -> dict[str, dict[str, Any]]:
    """The control: fine-tuned whole, then sliced for the budgets."""
    folder = work_dir / 'plain'
    shutil.rmtree(folder, ignore_errors=True)
    command = ['tools/train.py', task.plain, '--work-dir', str(folder)]
    run('plain', [*command, '--cfg-options', *options], work_dir / 'plain.log')
    checkpoint = last_checkpoint(folder)
    return dict(plain=test(task, 'plain', task.plain, checkpoint, work_dir))


def values_of(task: Task, result: dict[str, Any]) -> dict[str, float]:
    """Budget to metric."""
    rows = result['subnets']
    return {row['name']: row['metrics'][task.metric] for row in rows}


def show(
    task: Task, results: dict[str, dict[str, Any]], seconds: float
) -> None:
    """Prints the table of all networks."""
    table = Table(title=f'{task.title}: {task.axis} for a budget')
    headers = ('budget', 'MACs used', 'M params', *LABELS)
    for header in headers:
        table.add_column(header, justify='right')
    found = [values_of(task, results[name]) for name in LABELS]
    for row in results['adapted']['subnets']:
        name = row['name']
        table.add_row(
            f'{float(name):.0%}',
            f'{row["macs_ratio"]:.1%}',
            f'{row["params"] / 1e6:.3f}',
            *(f'{values[name]:.1f}' for values in found),
        )
    Console(width=80).print(table)
    print(
        'adapted: after all stages, one checkpoint. uniform: its uniform '
        'subnets. stage1: the same\nbefore search and stage 2. plain: the '
        f'same of the network fine-tuned whole. {seconds / 60:.1f} minutes.'
    )


def draw(task: Task, work_dir: Path) -> Path:
    """Draws what the adapted network makes of the first test images."""
    folder = work_dir / 'adapt'
    checkpoint = str(last_checkpoint(folder / 'stage2'))
    network = load(folder / 'stage2.py', checkpoint)
    data = DATASETS.build(network.cfg.test_dataloader.dataset)
    samples = [data[i] for i in range(DRAWN)]
    images = [each['inputs'][0].numpy() for each in samples]
    truth = [each['data_samples'].gt_sem_seg.data[0] for each in samples]
    masks = {'ground truth': truth}
    for budget in task.drawn:
        found = predict(network, images, budget)
        name = f'{float(budget):.0%} of MACs'
        masks[name] = [each['pred_sem_seg'] for each in found]
    return plot_segmentation(
        images,
        masks,
        dict(zip(found[0]['classes'], found[0]['palette'], strict=True)),
        work_dir / 'picture.png',
        task.title,
    )


def broken_promises(
    task: Task, results: dict[str, dict[str, Any]]
) -> list[str]:
    """Promises that the adapted network does not keep."""
    found, uniform = (
        values_of(task, results[name]) for name in ('adapted', 'uniform')
    )
    samples = results['adapted']['samples']

    def below(value: float, errors: float) -> float:
        error = task.error or standard_error(task.metric, value, samples)
        return value - errors * error

    broken = []
    for row in results['adapted']['subnets']:
        name = row['name']
        least = below(uniform[name], MOST_ERRORS)
        least = max(least, task.least.get(name, 0.0))
        budget = f'{float(name):.0%} of the MACs'
        if row['used'] < LEAST_USED:
            broken.append(f'{budget}: {row["used"]:.1%} of it is used')
        if found[name] < least:
            broken.append(f'{budget}: {found[name]:.1f} < {least:.1f}')
    means = [sum(v.values()) / len(v) for v in (found, uniform)]
    least = below(means[1], 1)
    if means[0] < least:
        broken.append(f'mean over budgets: {means[0]:.1f} < {least:.1f}')
    return broken


def main(args: argparse.Namespace) -> None:
    start = time.monotonic()
    task = TASKS[args.task]
    work_dir = Path(args.work_dir or task.folder).absolute()
    work_dir.mkdir(parents=True, exist_ok=True)
    options = [f'randomness.seed={args.seed}']
    results: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(networks, task, work_dir, options)
            for networks in (adapt, plain)
        ]
        for future in runs:
            results |= future.result()
    write_json(results, work_dir / 'demo.json')
    curves = {
        label: [
            (row['macs'], row['metrics'][task.metric])
            for row in results[name]['subnets']
        ]
        for name, label in LABELS.items()
    }
    figure = plot_metric_over_macs(
        curves, work_dir / 'demo.png', task.axis, task.title
    )
    pictures = [draw(task, work_dir)] if task.drawn else []
    show(task, results, time.monotonic() - start)
    adapted = work_dir / 'adapt'
    print(
        f'Figure: {figure}\nResults: {work_dir / "demo.json"}\n'
        f'Pareto front: {adapted}/search/pareto.json and .png\n'
        f'Exported networks: {adapted}/export',
        *(f'Picture: {picture}' for picture in pictures),
        sep='\n',
    )
    if args.check and (broken := broken_promises(task, results)):
        raise SystemExit('; '.join(broken))


if __name__ == '__main__':
    main(args)
