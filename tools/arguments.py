"""Options that several tools share.

A tool parses its command line before it imports anything else, so that
``--help`` is answered at once: what is imported here must be light.
"""

from argparse import ArgumentParser, Namespace


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
        help='job launcher; without a GPU only pytorch (torchrun)',
    )
    # torch.distributed.launch passes --local-rank.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    add_config_options(parser)


def add_config_options(parser: ArgumentParser) -> None:
    """The option that every tool with a config has."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. model.sampler.num=2 or '
        'key="[a,b]"; taken last',
    )


BUDGET_ARGUMENTS = ('by', 'front', 'latency_table', 'count', 'part')


def add_budget_arguments(parser: ArgumentParser) -> None:
    """Who answers budgets and how they are counted."""
    parser.add_argument(
        '--by',
        choices=['router', 'front', 'uniform'],
        help='who answers budgets: the router, the best evaluated subnet of '
        'the Pareto front, or the largest uniform subnet (default: the front '
        'of --front, else the first of these that the checkpoint has)',
    )
    parser.add_argument(
        '--front',
        metavar='FILE',
        help='pareto.json of tools/search.py, to answer budgets before stage '
        '2 or in place of the front in the checkpoint',
    )
    parser.add_argument(
        '--count',
        choices=['exact', 'paper'],
        help='how budgets count MACs (default: exact)',
    )
    parser.add_argument(
        '--part',
        choices=['backbone', 'neck', 'head', 'decode_head', 'total'],
        help='part of the model that budgets limit (default: the '
        'one that the router learnt, else total)',
    )
    parser.add_argument(
        '--latency-table',
        metavar='FILE',
        help='made by tools/latency.py, for budgets such as 5ms',
    )


def check_budget_arguments(args: Namespace, option: str, given: bool) -> None:
    """Raises if options about budgets are given without a budget.

    Raises:
        ValueError: Names the first of them, and the option that is missing.
    """
    for name in BUDGET_ARGUMENTS:
        if not given and getattr(args, name) is not None:
            raise ValueError(
                f'--{name.replace("_", "-")} {getattr(args, name)}: is about '
                f'budgets, and there is none; give {option}'
            )
