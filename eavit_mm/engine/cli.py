"""What the scripts in ``tools/`` share: mmengine's usual options."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from eavit_mm.engine.config_check import check_config
from eavit_mm.engine.config_error import explain
from eavit_mm.engine.launch import start_processes
from eavit_mm.models.budget_solver import SOURCES
from eavit_mm.models.budgets import PARTS
from eavit_mm.space.cost import COUNTS

# What a user can put right; all else is shown with its traceback.
_USER_ERRORS = (ValueError, OSError, FloatingPointError)
_DATALOADERS = tuple(
    f'{name}_dataloader' for name in ('train', 'val', 'search', 'test')
)


def run_tool(main: Callable[[], None]) -> None:
    """Runs a tool; what the user can put right becomes one line.

    Raises:
        SystemExit: With status 1 and 'error: ...' as the last line.
    """
    try:
        main()
        leave_ranks()
    except Exception as error:
        text = explain(error)
        if text is None and not isinstance(error, _USER_ERRORS):
            raise
        raise SystemExit(f'error: {text or error}') from error


def leave_ranks() -> None:
    """Ends the group of processes, if there is one.

    A process that exits with its group's threads running may abort.
    """
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def add_common_arguments(parser: ArgumentParser) -> None:
    """Options of every tool that runs a config, as mmpretrain has them."""
    parser.add_argument('--work-dir', help='folder for logs and results')
    parser.add_argument(
        '--no-pin-memory',
        action='store_true',
        help='disable pin_memory of the data loaders',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch passes --local-rank.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    add_config_options(parser)


def add_config_options(parser: ArgumentParser) -> None:
    """The option that every tool with a config has."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value, e.g. '
        'model.sampler.num=2 or key="[a,b]"; taken last',
    )


def add_budget_arguments(parser: ArgumentParser) -> None:
    """Who answers budgets and how they are counted."""
    parser.add_argument(
        '--by',
        choices=SOURCES,
        default='best',
        help='who answers budgets: the router, the Pareto front, the better '
        'of both on the held-out data, or the largest uniform subnet; '
        'without a router always the last',
    )
    parser.add_argument(
        '--count',
        choices=COUNTS,
        default='exact',
        help='how budgets count MACs',
    )
    parser.add_argument(
        '--part',
        choices=PARTS,
        default='total',
        help='part of the model that budgets limit',
    )
    parser.add_argument(
        '--latency-table',
        metavar='FILE',
        help='made by tools/latency.py, for budgets such as 5ms',
    )


def load_config(args: Namespace, **dataloader: Any) -> Config:
    """The config of a command line, without its ``--cfg-options``.

    Args:
        args: With ``config`` and the options of
            :func:`add_common_arguments`.
        **dataloader: Further defaults of every data loader.

    Raises:
        FileNotFoundError: If there is no such config file.
        ValueError: If it cannot be read.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(args.config).stem))
    _set_dataloader_defaults(cfg, args.no_pin_memory, dataloader)
    return cfg


def merge_options(cfg: Config, args: Namespace) -> None:
    """Applies ``--cfg-options``, which win over everything else."""
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    for field in _DATALOADERS:
        if cfg.get(field) and not cfg[field].get('num_workers'):
            # torch refuses persistent workers where there are none.
            cfg[field]['persistent_workers'] = False


def renamed(cfg: Config, tool: str) -> Config:
    """The config under a name of its own, such as ``vitb_search.py``.

    A runner writes its config into the work directory, where under its own
    name that of a training may lie, if not the very file that was given.
    """
    path = Path(cfg.filename or 'config.py')
    name = path.with_name(f'{path.stem}_{tool}{path.suffix}')
    return Config(cfg.to_dict(), cfg_text=cfg.text, filename=str(name))


def build_runner(cfg: Config) -> Runner:
    """The runner that a config asks for; without a GPU, over gloo.

    Raises:
        ValueError: If it has no model, an option that cannot be, or a
            launcher that did not start this process.
    """
    model = cfg.get('model')
    if not isinstance(model, dict):
        raise ValueError(f'{cfg.filename}: model={model!r}; must be a dict')
    check_config(cfg)
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        start_processes(cfg.launcher)
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)


def read_config(path: str) -> Config:
    """The config of a file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read.
    """
    try:
        return Config.fromfile(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # a config is code: it can raise anything
        reason = str(error).splitlines()[:1] or ['no reason given']
        raise ValueError(
            f'{path} is no config that can be read '
            f'({type(error).__name__}: {reason[0]})'
        ) from error


def _set_dataloader_defaults(
    cfg: Config, no_pin_memory: bool, extra: dict[str, Any]
) -> None:
    # mmseg's and mmpretrain's samples need different collate functions.
    is_mmseg = cfg.get('default_scope') == 'mmseg'
    collate = 'pseudo_collate' if is_mmseg else 'default_collate'
    defaults = dict(pin_memory=True, collate_fn=dict(type=collate), **extra)
    for field in _DATALOADERS:
        if cfg.get(field) is None:
            continue
        merged = {**deepcopy(defaults), **cfg[field]}
        if no_pin_memory:
            merged['pin_memory'] = False
        cfg[field] = merged
