"""Measures a latency table on this device, or compares one with networks."""

import argparse

from arguments import add_config_options


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    build = commands.add_parser('build', help='measure the blocks')
    build.add_argument('config', help='config file of a supernet')
    build.add_argument('out', help='JSON file for the table')
    build.add_argument('--batch-size', type=int, default=1)
    build.add_argument(
        '--dtype',
        choices=['float32', 'bfloat16', 'float16'],
        default='float32',
    )
    build.add_argument(
        '--backend',
        default='torch',
        help='what runs the networks: torch (the supernet), onnxruntime (the '
        'exported ones, on the CPU; each is exported first, which takes '
        'seconds), or a registered one (default: %(default)s)',
    )
    check = commands.add_parser('validate', help='compare with whole subnets')
    check.add_argument('config', help='config file of the supernet')
    check.add_argument('table', help='JSON file of a table; gets the result')
    check.add_argument('--num', type=int, default=50, help='subnets')
    check.add_argument('--seed', type=int, default=0)
    for command in (build, check):
        command.add_argument(
            '--rounds',
            type=int,
            help='measurements of each (default: a minute of them)',
        )
        command.add_argument(
            '--device',
            help='to measure on (default: a GPU if there is one and the '
            'backend is torch, else the CPU)',
        )
        command.add_argument(
            '--threads',
            type=int,
            help="of a CPU (default: torch's number, or the table's)",
        )
        add_config_options(command)
    return parser.parse_args()


if __name__ == '__main__':
    args = parse_args()  # --help is answered before the imports below

from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from eavit_mm.analysis.latency import (
    Validation,
    build_table,
    check_device,
    device_of,
    validate,
)
from eavit_mm.engine.checkpoint import naming, require_other_file
from eavit_mm.engine.cli import (
    build_supernet,
    merge_options,
    read_config,
    run_tool,
)
from eavit_mm.files import write_json
from eavit_mm.options import check_count
from eavit_mm.space.latency import TORCH, LatencyTable


def report(result: Validation) -> None:
    """Prints every subnet, and the summary."""
    table = Table(title='foretold and measured')
    for header in ('subnet', 'table (ms)', 'measured (ms)', 'error'):
        table.add_column(header, justify='right')
    rows = zip(result.foretold, result.measured, strict=True)
    for number, (ours, real) in enumerate(sorted(rows, key=lambda r: r[1])):
        table.add_row(
            str(number),
            f'{ours:.3f}',
            f'{real:.3f}',
            f'{ours / real - 1:+.1%}',
        )
    Console().print(table)
    print(
        f'mean error {result.error:.1%}, '
        f'Kendall tau {result.kendall_tau:.3f} over {len(result.measured)} '
        'subnets'
    )
    print(
        f'{result.drift - 1:+.1%} time of the device since it was measured '
        f'for the table; without that, mean error {result.own_error:.1%}'
    )


def build(args: argparse.Namespace, model: Any) -> None:
    """Measures a table, and writes it."""
    # What deploys a network need not know a GPU.
    default = None if args.backend == TORCH else 'cpu'
    model = model.to(device_of(args.device or default))
    options = (args.batch_size, args.rounds, args.dtype, args.backend)
    with naming(args.config):
        table = build_table(model, *options)
    write_json(table.to_dict(), args.out)
    how = f'{table.backend} on {table.device}, {table.threads} threads'
    print(f'{args.out}: {how}')


def check(args: argparse.Namespace, model: Any) -> None:
    """Compares a table with whole subnets, and notes its error in it."""
    table = LatencyTable.read(args.table)
    table.check(model.backbone.space, model.backbone.geometry)
    default = None if table.backend == TORCH else 'cpu'
    device = device_of(args.device or default)
    check_device(table, device, args.threads)
    torch.set_num_threads(args.threads or table.threads)
    options = (args.num, args.rounds, args.seed)
    with naming(args.table):
        result = validate(model.to(device), table, *options)
    report(result)
    table = replace(table, error=result.error, kendall_tau=result.kendall_tau)
    write_json(table.to_dict(), args.table)


def main(args: argparse.Namespace) -> None:
    if args.command == 'build':
        require_other_file(args.config, args.out)
    if args.threads is not None:
        check_count('--threads', args.threads, least=1)
        torch.set_num_threads(args.threads)
    cfg = read_config(args.config)
    merge_options(cfg, args)
    model = build_supernet(cfg, 'tools/latency.py')
    command = build if args.command == 'build' else check
    command(args, model)


if __name__ == '__main__':
    run_tool(main, args)
