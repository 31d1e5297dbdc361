"""Searches the Pareto front of a trained supernet."""

import argparse

from arguments import add_common_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of a supernet')
    parser.add_argument(
        '--objectives',
        nargs='+',
        choices=['metric', 'macs', 'params', 'latency'],
        help='what to search for, e.g. metric macs',
    )
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on with the search of the work directory',
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='build all parts, and end; CHECKPOINT is not read',
    )
    add_common_arguments(parser)
    return parser.parse_args()


if __name__ == '__main__':
    args = parse_args()  # --help is answered before the imports below

from copy import deepcopy
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.registry import init_default_scope

from eavit_mm.engine.calibration import leave_out_training
from eavit_mm.engine.cli import (
    build_runner,
    load_config,
    merge_options,
    rename_config,
    run_tool,
)
from eavit_mm.engine.data_overlap import disjoint_data
from eavit_mm.engine.loops.pareto_search_loop import FRONT, ParetoSearchLoop
from eavit_mm.engine.run_checks import reported_numbers

_OF_VALIDATION = ('val_dataloader', 'val_cfg', 'val_evaluator')


def search_config(cfg: Config) -> Config:
    """The config as a test run: mmengine knows no search.

    Raises:
        ValueError: If the config has no data or no metric for a search.
    """
    # Validation data are what training keeps for the choice of subnets.
    loader = cfg.get('search_dataloader', cfg.get('val_dataloader'))
    evaluator = cfg.get('search_evaluator', cfg.get('val_evaluator'))
    if loader is None or evaluator is None:
        raise ValueError(
            f'{cfg.filename}: search_dataloader and search_evaluator, or '
            'val_dataloader and val_evaluator, must be there'
        )
    cfg.test_dataloader = deepcopy(loader)
    cfg.test_evaluator = deepcopy(evaluator)
    cfg.test_cfg = cfg.search_cfg
    leave_out_training(cfg)
    for key in _OF_VALIDATION:
        cfg[key] = None
    return rename_config(cfg, 'search')


def merge_args(args: argparse.Namespace) -> Config:
    cfg = load_config(args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.check:
        cfg.load_from = None
    if args.objectives and isinstance(cfg.get('search_cfg'), dict):
        cfg.search_cfg.objectives = args.objectives
    merge_options(cfg, args)
    if not isinstance(cfg.get('search_cfg'), dict):
        raise ValueError(
            f'{cfg.filename}: search_cfg={cfg.get("search_cfg")!r}; must be '
            "a dict such as dict(type='eavit_mm.ParetoSearchLoop', "
            "metric='accuracy/top1')"
        )
    if args.resume:
        cfg.search_cfg.resume = True
    return cfg


def main(args: argparse.Namespace) -> None:
    cfg = merge_args(args)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    disjoint_data(cfg)
    runner = build_runner(search_config(cfg))
    if not isinstance(runner.test_loop, ParetoSearchLoop):
        raise ValueError(
            f'{args.config}: search_cfg.type={cfg.search_cfg.get("type")!r} '
            "is no search; must be 'eavit_mm.ParetoSearchLoop'"
        )
    metric = runner.test_loop.objectives.metric
    names = reported_numbers(runner.test_loop)
    if names is not None and metric not in names:
        raise ValueError(
            f'search_cfg.metric={metric!r}: the evaluator reports the numbers '
            f'{names}; must be one of them'
        )
    if args.check:
        return
    metrics = runner.test()
    if is_main_process():
        print(f'{metrics["members"]} subnets: {Path(runner.work_dir, FRONT)}')


if __name__ == '__main__':
    run_tool(main, args)
