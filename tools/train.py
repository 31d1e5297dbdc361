"""Trains the model of a config: stage 1, or a dense network."""

import argparse
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import find_latest_checkpoint

import eavit_mm  # noqa: F401
from eavit_mm.engine.checkpoint import naming, read_checkpoint
from eavit_mm.engine.cli import (
    add_common_arguments,
    build_runner,
    load_config,
    merge_options,
    run_tool,
)
from eavit_mm.engine.config_check import check_classes
from eavit_mm.engine.training_state import check_training_state
from eavit_mm.options import check_path

# mmengine's AmpOptimWrapper has them, beside those of every wrapper.
GPU_AMP_OPTIONS = {'loss_scale', 'dtype', 'use_fsdp'}


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
    add_common_arguments(parser)
    return parser.parse_args()


def merge_args(args: argparse.Namespace) -> Config:
    cfg = load_config(args, persistent_workers=not args.no_persistent_workers)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        set_amp(cfg.optim_wrapper)
    if args.auto_scale_lr:
        if 'auto_scale_lr' not in cfg:
            raise ValueError(
                '--auto-scale-lr: the config has no '
                'auto_scale_lr=dict(base_batch_size=...)'
            )
        cfg.auto_scale_lr.enable = True
    merge_options(cfg, args)
    set_resume(cfg, args.resume)
    return cfg


def set_amp(optim_wrapper: ConfigDict) -> None:
    """Selects mixed precision, on a CPU without what only a GPU's has."""
    if torch.cuda.is_available():
        optim_wrapper.type = 'AmpOptimWrapper'
        optim_wrapper.setdefault('loss_scale', 'dynamic')
        return
    optim_wrapper.type = 'eavit_mm.CpuAmpOptimWrapper'
    for name in sorted(GPU_AMP_OPTIONS & optim_wrapper.keys()):
        value = optim_wrapper.pop(name)
        print(f'--amp: bfloat16 on the CPU, {name}={value!r} is left out')


def set_resume(cfg: Config, resume: str | None) -> None:
    """Resumes, or starts from what the config loads if nothing is there."""
    if resume == 'auto':
        found = find_latest_checkpoint(cfg.work_dir)
        cfg.resume = found is not None
        if cfg.resume:
            cfg.load_from = found
        else:
            print(f'--resume: no checkpoint in {cfg.work_dir}, starting anew')
    elif resume is not None:
        cfg.resume, cfg.load_from = True, resume
    path = cfg.get('load_from')
    check_path('load_from', path)
    if path and '://' not in path:
        checkpoint = read_checkpoint(path)
        if cfg.get('resume'):
            with naming(path):
                check_training_state(checkpoint)
            _take_seed(cfg, checkpoint['meta'])


def _take_seed(cfg: Config, meta: dict[str, Any]) -> None:
    """Goes on with the seed of the run; mmengine gives it to a part only."""
    seed, randomness = meta.get('seed'), cfg.get('randomness') or {}
    if seed is not None:
        cfg.randomness = dict(randomness, seed=seed)


def main() -> None:
    cfg = merge_args(parse_args())
    runner = build_runner(cfg)
    check_classes(runner)
    with naming(cfg.get('load_from')):
        runner.train()


if __name__ == '__main__':
    run_tool(main)
