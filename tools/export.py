"""Exports a subnet, or a whole Pareto front, as dense networks."""

import argparse

from arguments import (
    add_budget_arguments,
    add_config_options,
    check_budget_arguments,
)


def _add_choices_of_subnets(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        '--budget',
        metavar='B',
        help='the subnet for a limit, see --by: 0.5 or 50%% (of the largest), '
        '8GMACs, 20Mparams, 5ms',
    )
    which.add_argument(
        '--subnet', metavar='FILE', help='JSON file of one subnet'
    )
    which.add_argument(
        '--pareto',
        metavar='FILE',
        help='pareto.json of tools/search.py: every member of the front; '
        'started again, it goes on where it was killed',
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file of the supernet')
    parser.add_argument('checkpoint', help='checkpoint of the supernet')
    _add_choices_of_subnets(parser)
    parser.add_argument(
        '--out',
        required=True,
        metavar='DIR',
        help='folder to write: new, empty, or an earlier export',
    )
    parser.add_argument(
        '--format',
        nargs='+',
        choices=['pth', 'onnx', 'pt2'],
        default=['pth'],
        help='files to write; model.pth is always one of them',
    )
    parser.add_argument(
        '--opset',
        type=int,
        default=20,
        help='version of the operators of ONNX, 14 to 22 (default: 20)',
    )
    add_budget_arguments(parser)
    parser.add_argument(
        '--images',
        type=int,
        default=0,
        metavar='N',
        help='compare on N images of val_dataloader too, not only on random '
        'ones',
    )
    parser.add_argument(
        '--correct',
        type=int,
        default=0,
        metavar='N',
        help='make up for what was cut off, as far as what is left can, by N '
        'training images without their labels; for subnets that were not '
        'trained as such',
    )
    parser.add_argument(
        '--device',
        help='to correct and to measure latency on (default: a GPU if there '
        'is one)',
    )
    parser.add_argument(
        '--batch-size', type=int, default=1, help='for the latency'
    )
    parser.add_argument(
        '--rounds', type=int, default=20, help='measurements of the latency'
    )
    add_config_options(parser)
    return parser.parse_args()


if __name__ == '__main__':
    args = parse_args()  # --help is answered before the imports below

import hashlib
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from eavit_mm.analysis.latency import device_of
from eavit_mm.engine.calibration import normalised_images, unlabelled_images
from eavit_mm.engine.checkpoint import load_supernet
from eavit_mm.engine.cli import (
    build_supernet,
    merge_options,
    read_config,
    run_tool,
)
from eavit_mm.export.config import dataset_meta
from eavit_mm.export.directory import Exporter, check_folder
from eavit_mm.export.formats import GRAPHS
from eavit_mm.export.front import export_front
from eavit_mm.export.table import format_front
from eavit_mm.models import BudgetSolver, ElasticModelMixin
from eavit_mm.options import check_count
from eavit_mm.space import Budget, Subnet
from eavit_mm.space.pareto import ParetoFront

# Images that the correction runs at once.
_BATCH = 32


def merge_args(args: argparse.Namespace) -> Config:
    leasts = dict(images=0, correct=0, batch_size=1, rounds=1)
    for name, least in leasts.items():
        option = f'--{name.replace("_", "-")}'
        check_count(option, getattr(args, name), least)
    args.device = device_of(args.device)
    cfg = read_config(args.config)
    merge_options(cfg, args)
    return cfg


def some_images(cfg: Config, model: Any, num: int) -> torch.Tensor | None:
    """The first images of ``val_dataloader``, normalised, of one size.

    Raises:
        ValueError: If the config has none.
    """
    if not num:
        return None
    if cfg.get('val_dataloader') is None:
        raise ValueError(f'--images {num}: the config has no val_dataloader')
    loader = Runner.build_dataloader(cfg.val_dataloader, seed=0)
    return normalised_images(model, loader, num)


def subnet_of(
    args: argparse.Namespace, model: ElasticModelMixin
) -> tuple[Subnet, dict[str, str]]:
    """The subnet that a file or a budget names, and what led to it."""
    space = model.backbone.space
    if args.subnet:
        subnet = Subnet.from_file(args.subnet)
        try:
            space.check(subnet)
        except ValueError as error:
            raise ValueError(f'{args.subnet}: {error}') from error
        return subnet, dict(file=args.subnet)
    files = args.latency_table, args.front
    solver = BudgetSolver(model, args.count or 'exact', args.part, *files)
    subnet, by = solver.answer([Budget.parse(args.budget)], args.by)
    return subnet, dict(budget=args.budget, part=solver.part, by=by)


def summary(report: dict[str, Any], out: str) -> str:
    """What a user wants to know first."""
    times = report['latency_ms']
    differences = ', '.join(
        f'{name} {found["float32"]:.1e}'
        for name, found in report['max_difference'].items()
    )
    deployed = ''.join(
        f', {name} {times[name]:.3g}' for name in GRAPHS if name in times
    )
    by = report['source'].get('by')
    correction = ''
    if made := report['correction']:
        correction = (
            f'corrected by {made["images"]} images: features off by '
            f'{made["error"]:.1%}, before {made["error_before"]:.1%}\n'
        )
    return (
        f'{f"Answered by: {by}, " if by else ""}{report["macs"]:,} MACs '
        f'({report["macs"] / report["macs_of_largest"]:.1%}), '
        f'{report["params"]:,} parameters, '
        f'{times["exported"]:.3g} ms (sliced {times["subnet"]:.3g}, largest '
        f'{times["largest"]:.3g}{deployed})\n{correction}'
        f'largest difference from the supernet: {differences}\n'
        f'Exported: {out}'
    )


def main(args: argparse.Namespace) -> None:
    check_budget_arguments(args, '--budget', args.budget is not None)
    if args.budget is not None:
        Budget.parse(args.budget)
    cfg = merge_args(args)
    model = build_supernet(cfg, 'tools/export.py')
    front = None
    if args.pareto:
        args.resume = True  # a front, by the same command
        front = ParetoFront.read(args.pareto, model.backbone.space)
    else:
        check_folder(args.out)
    meta = load_supernet(model, args.checkpoint)
    with Path(args.checkpoint).open('rb') as file:
        sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
    exporter = Exporter(
        model,
        cfg,
        dict(config=args.config, checkpoint=args.checkpoint, sha256=sha256),
        args.format,
        some_images(cfg, model, args.images),
        args.device,
        args.batch_size,
        args.rounds,
        args.opset,
        dataset_meta(cfg, meta),
    )
    if args.correct:
        exporter.calibration = unlabelled_images(
            cfg, model, args.correct, f'--correct {args.correct}'
        ).split(_BATCH)
    if front is not None:
        table = export_front(exporter, front, args.out, print)
        print(f'{format_front(table)}\nExported: {args.out}')
    else:
        # The checkpoint brings the router that answers a budget.
        subnet, reason = subnet_of(args, model)
        exporter.source.update(reason)
        print(summary(exporter.export(subnet, args.out), args.out))


if __name__ == '__main__':
    run_tool(main, args)
