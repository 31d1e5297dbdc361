"""Times subnets of a ViT-S/16 against the stock network, as ratios.

All cases run interleaved, round by round, and a ratio is formed inside a
round: what slows the machine down slows both sides. The stock network
appears twice; the ratio of the two is the noise. Memory is measured in
processes of their own.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.dense_cases import dense_cases
from benchmarks.pages import (
    FOLDER,
    ROOT,
    commit,
    measurements,
    publish,
    quartiles,
    table,
)
from benchmarks.speed_cases import (
    AGAIN,
    STOCK,
    Case,
    Setting,
    elastic_cases,
    stage2_cases,
    stock_cases,
)
from eavit_mm.analysis.latency import device_name, seconds
from eavit_mm.files import write_json

MAKERS = (stock_cases, elastic_cases, stage2_cases, dense_cases)
INTRO = """# Speed of subnets

Made by `make speed`: ViT-S/16 at 224 px, cases interleaved in one process,
ratios formed inside a round; median and quartiles. A step is forward, backward
and AdamW through `train_step`, weights sliced anew; a forward is without
gradients. "stock again" over "stock" is the noise. Memory is the peak that a
run adds to its model and optimizer, in a process of its own. Stage 2: steps at
budgets as they are drawn in training; with `gated_every=k` one of k is gated,
the others are sliced. Exported networks run against networks of the same
widths and weights written in plain torch. Ratios of time say nothing about
other machines: run it on yours."""


Times = dict[str, dict[str, list[float]]]


def rounds_of(cases: list[Case], device: str) -> Iterator[Times]:
    """Seconds of every run of every case until now, after each round."""
    times: Times = {
        kind: {case.name: [] for case in cases if kind in case.runs}
        for kind in cases[0].runs
    }
    rng = np.random.default_rng(0)
    for number in count():
        for kind, found in times.items():
            for i in rng.permutation(len(cases)):
                if cases[i].name not in found:
                    continue
                spent = seconds(cases[i].runs[kind], torch.device(device))
                if number:  # the first round warms up
                    found[cases[i].name].append(spent)
        if number:
            yield times


def measure(cases: list[Case], rounds: int, device: str) -> Times:
    """Seconds of every run of every case, one per round, interleaved."""
    times: Times = {}
    found = rounds_of(cases, device)
    for number in range(rounds):
        times = next(found)
        if sys.stderr.isatty():
            print(f'\rround {number + 1}/{rounds}', end='', file=sys.stderr)
    return times


def ratios(
    cases: list[Case], times: dict[str, dict[str, list[float]]]
) -> list[dict[str, Any]]:
    """Median and quartiles of every case over its reference."""
    rows = []
    for case in cases:
        if case.name == case.reference:
            continue
        row: dict[str, Any] = dict(
            case=case.name, over=case.reference, macs_ratio=case.share
        )
        for kind, found in times.items():
            if case.name not in found:
                continue
            pairs = np.divide(found[case.name], found[case.reference])
            row[kind] = [round(x, 3) for x in quartiles(pairs)]
        rows.append(row)
    return rows


def all_cases(setting: Setting) -> list[Case]:
    """Every case of the benchmark."""
    return [case for make in MAKERS for case in make(setting)]


def memory_of(name: str, kind: str, setting: Setting) -> float:
    """:func:`peak_memory` of a case of the benchmark."""
    made = (make(setting) for make in MAKERS)
    case = next(c for cases in made for c in cases if c.name == name)
    run = case.runs[kind]
    run()  # the optimizer's state, and what torch makes once
    return peak_memory(run, setting.device)


def peak_memory(run: Callable[[], Any], device: str) -> float:
    """MiB that a run needs beyond what its model and optimizer hold."""
    if device != 'cpu':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path('/proc/self/clear_refs').write_text('5')  # resets the peak
    before = held()
    run()
    return (held('VmHWM') - before) / 2**20


def held(field: str = 'VmRSS', process: int | str = 'self') -> int:
    """Bytes that Linux knows of a process; 0 of one that has ended."""
    lines = Path(f'/proc/{process}/status').read_text().splitlines()
    found = (li.split()[1] for li in lines if li.startswith(f'{field}:'))
    return int(next(found, 0)) * 2**10


def add_memory(
    rows: list[dict[str, Any]], batch_size: int, device: str
) -> None:
    """Adds the peak memory of every case over its reference's."""

    def of(name: str, kind: str) -> float:
        # A process of its own, which gives freed memory back at once.
        command = [sys.executable, '-m', 'benchmarks.speed']
        command += ['--memory-of', name, kind, '--device', device]
        command += ['--batch-size', str(batch_size)]
        env = {**os.environ, 'MALLOC_MMAP_THRESHOLD_': '65536'}
        text = subprocess.check_output(command, cwd=ROOT, env=env, text=True)
        return float(text.splitlines()[-1])

    for kind in ('step', 'forward'):
        known: dict[str, float] = {}
        for row in rows:
            if kind not in row:
                continue
            pair = []
            for name in (row['case'], row['over']):
                name = STOCK if name == AGAIN else name
                if name not in known:
                    known[name] = of(name, kind)
                pair.append(known[name])
            row[f'{kind}_memory'] = round(pair[0] / pair[1], 3)


def report(result: dict[str, Any]) -> str:
    """The table of a measurement, in Markdown."""
    rows = []
    for row in result['rows']:
        cells = [row['case'], row['over'], f'{row["macs_ratio"]:.3f}']
        for kind in ('step', 'forward'):
            low, median, high = row.get(kind, [0, 0, 0])
            text = f'{median:.3f} ({low:.3f} to {high:.3f})'
            cells.append(text if kind in row else '')
        for kind in ('step_memory', 'forward_memory'):
            cells.append(f'{row[kind]:.2f}' if kind in row else '')
        rows.append(cells)
    header = ['network', 'over', 'MACs', 'step', 'forward']
    header += ['memory of a step', 'of a forward']
    where = (
        f'{result["device"]}, torch {result["torch"]}, batch '
        f'{result["batch_size"]}, {result["rounds"]} rounds, commit '
        f'{result["commit"]}.'
    )
    return f'{where}\n\n{table(header, rows)}'


def page(results: list[dict[str, Any]]) -> str:
    """The measurements of every device in Markdown."""
    return '\n\n'.join([INTRO, *map(report, results)])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument('--no-memory', action='store_true')
    parser.add_argument(
        '--out', help='JSON file (default: docs/benchmark/speed_DEVICE.json)'
    )
    parser.add_argument('--memory-of', nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    size, device = args.batch_size, args.device
    setting = Setting(size, device)
    if args.memory_of:
        print(memory_of(*args.memory_of, setting))
        return
    cases = all_cases(setting)
    rows = ratios(cases, measure(cases, args.rounds, device))
    if not args.no_memory:
        del cases
        add_memory(rows, size, device)
    result = dict(
        device=f'{device_name(torch.device(device))}, '
        f'{torch.get_num_threads()} threads',
        torch=torch.__version__,
        batch_size=size,
        rounds=args.rounds,
        commit=commit(),
        rows=rows,
    )
    out = Path(args.out or FOLDER / f'speed_{device}.json')
    write_json(result, out)
    publish(page(measurements(out.parent, 'speed')), out.parent / 'speed.md')


if __name__ == '__main__':
    main()
