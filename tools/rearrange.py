"""Sorts the units of a pretrained network by importance; same function."""

import argparse

from arguments import add_common_arguments

CRITERIA = dict(
    activation='ActivationCriterion',
    taylor='TaylorCriterion',
    fisher='FisherCriterion',
    magnitude='MagnitudeCriterion',
    random='RandomCriterion',
    none='NoCriterion',
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the supernet')
    parser.add_argument('checkpoint', help='checkpoint to rearrange')
    parser.add_argument('out', help='checkpoint to write')
    parser.add_argument(
        '--criterion',
        choices=CRITERIA,
        default='activation',
        help='what is important (default: %(default)s)',
    )
    parser.add_argument(
        '--num-batches',
        type=int,
        default=8,
        help='batches of the training data to calibrate with',
    )
    add_common_arguments(parser)
    return parser.parse_args()


if __name__ == '__main__':
    args = parse_args()  # --help is answered before the imports below

from eavit_mm.engine.calibration import calibration_batches
from eavit_mm.engine.checkpoint import (
    load_supernet,
    require_other_file,
    save_atomically,
    supernet_meta,
)
from eavit_mm.engine.cli import (
    build_runner,
    load_config,
    merge_options,
    run_tool,
)
from eavit_mm.engine.unwrap import elastic_model
from eavit_mm.options import check_count
from eavit_mm.rearrange import rearrange
from eavit_mm.registry import TASK_UTILS


def main(args: argparse.Namespace) -> None:
    require_other_file(args.config, args.out)
    require_other_file(args.checkpoint, args.out)
    check_count('--num-batches', args.num_batches, least=1)
    cfg = load_config(args)
    merge_options(cfg, args)
    # Only the checkpoint that is given is read.
    cfg.load_from, cfg.resume = None, False
    runner = build_runner(cfg)
    model = elastic_model(runner.model, 'tools/rearrange.py')
    meta = load_supernet(model, args.checkpoint)
    name = CRITERIA[args.criterion]
    criterion = TASK_UTILS.build(dict(type=f'eavit_mm.{name}'))
    batches = ()
    if criterion.needs_data:
        loader = runner.build_dataloader(cfg.train_dataloader)
        batches = calibration_batches(
            loader, args.num_batches, runner.seed or 0
        )
    rearrange(model, criterion, batches, model.head_was_loaded)
    done = None if args.criterion == 'none' else name
    meta['eavit_mm'] = supernet_meta(model, done, 0)
    save_atomically(dict(meta=meta, state_dict=model.state_dict()), args.out)
    print(f'Rearranged by {name}: {args.out}')


if __name__ == '__main__':
    run_tool(main, args)
