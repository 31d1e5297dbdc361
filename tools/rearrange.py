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
        help="what is important (default: as the config's RearrangeHook "
        'says, else activation)',
    )
    parser.add_argument(
        '--num-batches',
        type=int,
        help='batches of the training data to calibrate with (default: as '
        'that hook says, else 8)',
    )
    add_common_arguments(parser)
    return parser.parse_args()


if __name__ == '__main__':
    args = parse_args()  # --help is answered before the imports below

from eavit_mm.engine.calibration import calibration_batches
from eavit_mm.engine.checkpoint import (
    load_supernet,
    naming,
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
from eavit_mm.engine.hooks import RearrangeHook
from eavit_mm.engine.unwrap import elastic_model
from eavit_mm.options import check_count
from eavit_mm.rearrange import check_sortable, rearrange
from eavit_mm.registry import TASK_UTILS


def main(args: argparse.Namespace) -> None:
    require_other_file(args.config, args.out)
    require_other_file(args.checkpoint, args.out)
    if args.num_batches is not None:
        check_count('--num-batches', args.num_batches, least=1)
    cfg = load_config(args)
    merge_options(cfg, args)
    # Only the checkpoint that is given is read.
    cfg.load_from, cfg.resume = None, False
    runner = build_runner(cfg)
    model = elastic_model(runner.model, 'tools/rearrange.py')
    meta = load_supernet(model, args.checkpoint, of_any_space=True)
    hook = next(
        (hook for hook in runner.hooks if isinstance(hook, RearrangeHook)),
        RearrangeHook(dict(type='eavit_mm.ActivationCriterion')),
    )
    criterion, number = hook.criterion, args.num_batches or hook.num_batches
    if args.criterion:
        kind = CRITERIA[args.criterion]
        criterion = TASK_UTILS.build(dict(type=f'eavit_mm.{kind}'))
    name = type(criterion).__name__
    done = None if name == 'NoCriterion' else name
    if done:
        with naming(args.config):
            check_sortable(model.backbone.space)
    batches = ()
    if criterion.needs_data:
        loader = runner.build_dataloader(cfg.train_dataloader)
        batches = calibration_batches(
            loader, number, runner.seed or 0, hook.batch_size
        )
    rearrange(model, criterion, batches, model.head_was_loaded)
    meta['eavit_mm'] = supernet_meta(model, done, 0)
    save_atomically(dict(meta=meta, state_dict=model.state_dict()), args.out)
    print(f'Rearranged by {name}: {args.out}')


if __name__ == '__main__':
    run_tool(main, args)
