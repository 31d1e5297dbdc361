"""Trains the model of a config: stage 1, or a dense network."""

import argparse

import torch
from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

import eavit_mm  # noqa: F401
from eavit_mm.engine.checkpoint import read_checkpoint
from eavit_mm.engine.cli import (
    add_common_arguments,
    build_runner,
    load_config,
    merge_options,
)


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
    if args.amp and torch.cuda.is_available():
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    elif args.amp:
        cfg.optim_wrapper.type = 'eavit_mm.CpuAmpOptimWrapper'
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


def set_resume(cfg: Config, resume: str | None) -> None:
    """Resumes, or starts from what the config loads if nothing is there."""
    if resume == 'auto':
        cfg.resume = find_latest_checkpoint(cfg.work_dir) is not None
        if cfg.resume:
            cfg.load_from = None
        else:
            print(f'--resume: no checkpoint in {cfg.work_dir}, starting anew')
    elif resume is not None:
        cfg.resume, cfg.load_from = True, resume
    if cfg.get('load_from') and '://' not in cfg.load_from:
        meta = read_checkpoint(cfg.load_from).get('meta') or {}
        if cfg.resume and 'iter' not in meta:
            raise ValueError(
                f'--resume: {cfg.load_from} is not of a training run; to '
                'start from its weights: --cfg-options load_from=FILE'
            )


def main() -> None:
    build_runner(merge_args(parse_args())).train()


if __name__ == '__main__':
    try:
        main()
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f'error: {error}') from error
