"""Trains the model of a config: stage 1, or a dense network."""

import argparse

from arguments import add_common_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='a checkpoint to resume from; without one, the latest in the '
        'work directory',
    )
    parser.add_argument(
        '--amp', action='store_true', help='automatic mixed precision'
    )
    parser.add_argument(
        '--no-validate',
        action='store_true',
        help='do not evaluate during training',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size',
    )
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='disable persistent_workers of the data loaders',
    )
    parser.add_argument(
        '--check', action='store_true', help='build all parts, and end'
    )
    add_common_arguments(parser)
    return parser.parse_args()


if __name__ == '__main__':
    args = parse_args()  # --help is answered before the imports below

import torch
from mmengine.config import Config, ConfigDict

from eavit_mm.engine.checkpoint import last_checkpoint
from eavit_mm.engine.cli import (
    build_runner,
    load_config,
    merge_options,
    require_parts,
    run_tool,
)
from eavit_mm.engine.data_overlap import disjoint_data
from eavit_mm.engine.run_checks import check_training, check_work_dir
from eavit_mm.options import check_count, check_mapping

# mmengine's AmpOptimWrapper has them, beside those of every wrapper.
GPU_AMP_OPTIONS = {'loss_scale', 'dtype', 'use_fsdp'}


def merge_args(args: argparse.Namespace) -> Config:
    cfg = load_config(args, persistent_workers=not args.no_persistent_workers)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        require_parts(cfg, '--amp', 'optim_wrapper')
    if isinstance(cfg.get('optim_wrapper'), dict):
        set_amp(cfg.optim_wrapper, args.amp)
    if args.auto_scale_lr:
        cfg.auto_scale_lr = dict(cfg.get('auto_scale_lr') or {}, enable=True)
    merge_options(cfg, args)
    if args.auto_scale_lr:
        check_mapping('auto_scale_lr', cfg.auto_scale_lr, 'options')
        size = cfg.auto_scale_lr.get('base_batch_size')
        check_count('auto_scale_lr.base_batch_size', size, least=1)
    set_resume(cfg, args.resume)
    return cfg


def set_amp(optim_wrapper: ConfigDict, is_asked: bool) -> None:
    """Selects mixed precision, on a CPU without what only a GPU's has."""
    kind = 'AmpOptimWrapper'
    if not is_asked and optim_wrapper.get('type') != kind:
        return
    if torch.cuda.is_available():
        optim_wrapper.type = kind
        optim_wrapper.setdefault('loss_scale', 'dynamic')
        return
    optim_wrapper.type = 'OptimWrapper'
    manner = f'{kind}: float32'
    if is_asked:
        optim_wrapper.type = 'eavit_mm.CpuAmpOptimWrapper'
        manner = '--amp: bfloat16'
    for name in sorted(GPU_AMP_OPTIONS & optim_wrapper.keys()):
        value = optim_wrapper.pop(name)
        print(f'{manner} on the CPU, {name}={value!r} is left out')


def set_resume(cfg: Config, resume: str | None) -> None:
    """Resumes, or starts from what the config loads if nothing is there."""
    if resume == 'auto':
        found = last_checkpoint(cfg.work_dir)
        cfg.resume = found is not None
        if cfg.resume:
            cfg.load_from = found
        else:
            print(f'--resume: no checkpoint in {cfg.work_dir}, starting anew')
    elif resume is not None:
        cfg.resume, cfg.load_from = True, resume


def main(args: argparse.Namespace) -> None:
    cfg = merge_args(args)
    if not args.check:
        check_work_dir(cfg)
    runner = build_runner(cfg)
    if cfg.get('search_cfg'):  # before all of stage 1, not after it
        disjoint_data(cfg)
    check_training(runner)
    if not args.check:
        runner.train()


if __name__ == '__main__':
    run_tool(main, args)
