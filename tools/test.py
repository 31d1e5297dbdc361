"""Evaluates subnets of a supernet: a table, JSON, a figure, the AUC.

A budget that no subnet keeps has a row that says why; the others are
evaluated and written all the same, and the exit status is 1.
"""

import argparse

from arguments import (
    BUDGET_ARGUMENTS,
    add_budget_arguments,
    add_common_arguments,
    check_budget_arguments,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--budgets',
        nargs='+',
        default=[],
        metavar='B',
        help='limits to evaluate: 0.5 or 50%% (of the largest), 8GMACs, '
        '20Mparams, 5ms',
    )
    parser.add_argument(
        '--subnet', metavar='FILE', help='JSON file of one subnet to evaluate'
    )
    add_budget_arguments(parser)
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='JSON file for the results, the figure lies beside it '
        '(default: subnets.json in the work directory)',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help="test-time augmentation, as the config's tta_pipeline says",
    )
    add_common_arguments(parser)
    return parser.parse_args()


if __name__ == '__main__':
    args = parse_args()  # --help is answered before the imports below

from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from eavit_mm.analysis.plots import plot_metric_over_macs
from eavit_mm.analysis.subnet_table import format_table
from eavit_mm.engine.calibration import leave_out_training
from eavit_mm.engine.checkpoint import require_other_file
from eavit_mm.engine.cli import (
    build_runner,
    leave_ranks,
    load_config,
    merge_options,
    rename_config,
    require_parts,
    run_tool,
)
from eavit_mm.engine.unwrap import elastic_model
from eavit_mm.files import plain, write_json
from eavit_mm.space import Budget, Subnet


def data_set_of(dataset: ConfigDict) -> ConfigDict:
    """The data set with a pipeline inside wrappers such as Split."""
    while 'pipeline' not in dataset:
        if not isinstance(dataset.get('dataset'), dict):
            raise ValueError(
                f'--tta: test_dataloader.dataset: {dataset.get("type")!r} has '
                'no pipeline to augment; must be a data set with one, or a '
                'wrapper around one'
            )
        dataset = dataset.dataset
    return dataset


def use_tta(cfg: Config) -> None:
    """Wraps the model as the config says; what is augmented is its choice.

    Raises:
        ValueError: If it says nothing: a flip may make another label true.
    """
    dataset = data_set_of(cfg.test_dataloader.dataset)
    if not cfg.get('tta_pipeline'):
        raise ValueError(
            f'--tta: tta_pipeline={cfg.get("tta_pipeline")!r} in '
            f'{cfg.filename}; must be a pipeline with a TestTimeAug of what '
            'leaves the labels true, as in configs/_base_/datasets'
        )
    if not cfg.get('tta_model'):
        is_mmseg = cfg.get('default_scope') == 'mmseg'
        merge = 'SegTTAModel' if is_mmseg else 'mmpretrain.AverageClsScoreTTA'
        cfg.tta_model = dict(type=merge)
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset.pipeline = cfg.tta_pipeline


def merge_args(args: argparse.Namespace) -> Config:
    cfg = load_config(args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    for text in args.budgets:
        Budget.parse(text)
    check_budget_arguments(args, '--budgets', bool(args.budgets))
    if args.budgets or args.subnet:
        option = '--budgets' if args.budgets else '--subnet'
        require_parts(cfg, option, 'test_cfg')
        subnets = {}
        if args.subnet:
            subnet = Subnet.from_file(args.subnet)
            subnets[Path(args.subnet).stem] = subnet.to_dict()
        given = {k: getattr(args, k) for k in BUDGET_ARGUMENTS}
        given = {k: v for k, v in given.items() if v is not None}
        # Of the config nothing about budgets stays where there are none, nor
        # who answers where a front is given.
        gone = {'subnets'} if args.budgets else {'subnets', *BUDGET_ARGUMENTS}
        gone |= {'by'} if args.front else set()
        cfg.test_cfg = dict(
            {k: v for k, v in cfg.test_cfg.items() if k not in gone},
            type='eavit_mm.SubnetTestLoop',
            subnets=subnets,
            budgets=args.budgets,
            **given,
        )
    merge_options(cfg, args)
    if args.tta:
        require_parts(cfg, '--tta', 'test_dataloader')
        use_tta(cfg)
    require_parts(cfg, 'tools/test.py', 'test_dataloader', 'test_cfg')
    if not cfg.get('train_cfg'):
        leave_out_training(cfg)
    return cfg


def check_subnet(runner: Runner, path: str) -> None:
    """Raises if a file's subnet is not in the space; names the file."""
    space = elastic_model(runner.model, '--subnet').backbone.space
    try:
        space.check(Subnet.from_file(path))
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def check_places(out: Path, args: argparse.Namespace, cfg: Config) -> None:
    """Raises if results would be written over what is read, or each other."""
    figure = out.with_suffix('.png')
    if out.suffix.lower() == figure.suffix:
        raise ValueError(
            f'--out {out}: the figure will lie there; give the JSON file '
            'another ending, such as .json'
        )
    model = cfg.model.get('module', cfg.model)  # inside --tta's
    router, test = model.get('router') or {}, cfg.get('test_cfg') or {}
    sources = (
        args.config,
        args.checkpoint,
        args.subnet,
        test.get('latency_table'),
        test.get('front'),
        router.get('latency_table'),
        router.get('front'),
    )
    for source in filter(None, sources):
        require_other_file(source, out)
        require_other_file(source, figure)


def report(
    runner: Runner,
    metrics: dict[str, Any],
    args: argparse.Namespace,
    out: Path,
) -> None:
    """Writes the JSON file and the figure, prints the table."""
    loop = runner.test_loop
    result = dict(
        config=args.config,
        checkpoint=args.checkpoint,
        metric=loop.metric,
        samples=len(loop.dataloader.dataset),
        auc=metrics.get('auc'),
        **{k: metrics[k] for k in ('regret',) if k in metrics},
        subnets=[*loop.rows, *loop.unreachable],
    )
    write_json(plain(result), out)
    points = [(r['macs'], r['metrics'].get(loop.metric)) for r in loop.rows]
    points = [point for point in points if point[1] is not None]
    # One point has no area.
    area = f': AUC {metrics["auc"]:.4f}' if len(points) > 1 else ''
    print(format_table(result['subnets'], f'{loop.metric or ""}{area}'))
    print(f'Results: {out}')
    if points:
        figure = out.with_suffix('.png')
        plot_metric_over_macs({'subnets': points}, figure, loop.metric)
        print(f'Figure: {figure}')


def main(args: argparse.Namespace) -> None:
    cfg = merge_args(args)
    out = Path(args.out or Path(cfg.work_dir, 'subnets.json'))
    check_places(out, args, cfg)
    runner = build_runner(rename_config(cfg, 'test'))
    if args.subnet:
        check_subnet(runner, args.subnet)
    metrics = runner.test()
    loop = runner.test_loop
    if is_main_process() and hasattr(loop, 'rows'):
        report(runner, metrics, args, out)
    if unreachable := getattr(loop, 'unreachable', None):
        leave_ranks()  # an error on another rank would end the report
        names = ', '.join(row['name'] for row in unreachable)
        raise ValueError(
            f'--budgets {names}: cannot be reached, as said above; the '
            'others are evaluated and written'
        )


if __name__ == '__main__':
    run_tool(main, args)
