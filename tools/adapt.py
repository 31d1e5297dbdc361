"""All stages of an adaptation: train, search, train with router, export.

Started again with the same work directory, it goes on where it was killed.
"""

import argparse

from arguments import add_config_options


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config',
        help="config of stage 2; its 'stage1' names that of stage 1",
    )
    parser.add_argument('--work-dir', help='folder for all results')
    parser.add_argument(
        '--data',
        metavar='DIR',
        help='images instead of the data of the config: DIR/train/CLASS/* '
        'and DIR/test/CLASS/*, or DIR/CLASS/*, in any format of OpenCV',
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='a tenth of the training, 40 evaluations: to see that it works',
    )
    parser.add_argument(
        '--budgets',
        nargs='+',
        default=['0.5', '0.25'],
        metavar='B',
        help='of the networks to evaluate and export (default: %(default)s)',
    )
    parser.add_argument(
        '--format',
        nargs='+',
        choices=['pth', 'onnx', 'pt2'],
        default=['pth'],
        help='files of exported networks',
    )
    parser.add_argument(
        '--processes',
        type=int,
        default=1,
        help='of training and search, on this machine',
    )
    add_config_options(parser)
    return parser.parse_args()


if __name__ == '__main__':
    args = parse_args()  # --help is answered before the imports below

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from eavit_mm.engine.adaptation import shorten
from eavit_mm.engine.cli import (
    build_supernet,
    merge_options,
    read_config,
    run_tool,
)
from eavit_mm.engine.image_folder import use_image_folder
from eavit_mm.files import write_atomically
from eavit_mm.models import BudgetSolver
from eavit_mm.options import check_count
from eavit_mm.space import Budget

TOOLS = Path(__file__).resolve().parent
# Of a whole training and search, what --quick does.
QUICK, QUICK_EVALUATIONS = 0.1, 40
# Settings of one stage alone.
_PRETRAINED, _ROUTER = 'model.backbone.init_cfg', 'model.router'


def stage_configs(args: argparse.Namespace) -> dict[str, Config]:
    """The configs of both stages, with what the options change.

    Raises:
        ValueError: If the config names no stage 1, or has no router.
    """
    second = read_config(args.config)
    router = (second.get('model') or {}).get('router')
    if not isinstance(second.get('stage1'), str) or not router:
        raise ValueError(
            f'{args.config}: stage1={second.get("stage1")!r}, model.router='
            f'{router!r}; must be the config of a stage '
            '2, which names that of stage 1, such as '
            'configs/eavit/vitmini_digits_stage2.py'
        )
    configs = dict(stage1=read_config(second.stage1), stage2=second)
    for cfg in configs.values():
        if args.data:
            use_image_folder(cfg, args.data)
        if args.quick:
            shorten(cfg, QUICK)
            cfg.search_cfg.max_evaluations = QUICK_EVALUATIONS
        # Stage 1 has no router, stage 2 begins with its weights.
        other = _PRETRAINED if cfg is second else _ROUTER
        options = [
            option
            for option in args.cfg_options
            if not option.startswith(other)
        ]
        merge_options(cfg, argparse.Namespace(cfg_options=options))
    return configs


def check_budgets(cfg: Config, texts: Sequence[str]) -> None:
    """Raises, before anything runs, unless the networks can be had.

    Args:
        cfg: The config of stage 2.
        texts: The budgets.

    Raises:
        ValueError: If one is none, or cannot be reached.
    """
    budgets = [Budget.parse(text) for text in texts]
    cfg = Config(cfg.to_dict())
    path = cfg.model.router.get('latency_table')
    cfg.model.router = None
    model = build_supernet(cfg, 'tools/adapt.py')
    solver = BudgetSolver(model, table=path)
    for budget in budgets:
        solver.limits([budget])


class Adaptation:
    """The stages, each with a folder of its own.

    Args:
        folder: Holds the folders of all stages.
        processes: How many train and search.
    """

    def __init__(self, folder: Path, processes: int) -> None:
        self.folder = folder
        self.processes = processes

    def call(self, tool: str, *args: str | Path, alone: bool = False) -> None:
        """Runs a tool of this folder; its output is this one's.

        Raises:
            SystemExit: With its status, if it fails.
        """
        command = [str(TOOLS / f'{tool}.py'), *map(str, args)]
        if not alone and self.processes > 1:
            command += ['--launcher', 'pytorch']
            start = ['-m', 'torch.distributed.run', '--standalone']
            command = [*start, f'--nproc_per_node={self.processes}', *command]
        print(f'\n### {tool}: python {" ".join(command)}', flush=True)
        done = subprocess.run([sys.executable, *command], check=False)
        if done.returncode:
            raise SystemExit(
                f'error: {tool} failed, as said above; the stages that were '
                f'done before are kept in {self.folder}'
            )

    def train(self, stage: str, cfg: Config) -> Path:
        """A stage of the training; its last checkpoint."""
        config, work_dir = self.config(stage), self.folder / stage
        write_atomically(cfg.pretty_text.encode(), config)
        self.call('train', config, '--work-dir', work_dir, '--resume')
        return Path((work_dir / 'last_checkpoint').read_text())

    def search(self, checkpoint: Path) -> Path:
        """The search of stage 1's supernet; its front."""
        work_dir = self.folder / 'search'
        config = self.config('stage1')
        options = ('--work-dir', work_dir, '--resume')
        self.call('search', config, checkpoint, *options)
        return work_dir / 'pareto.json'

    def config(self, stage: str) -> Path:
        """Where the config of a stage lies."""
        return self.folder / f'{stage}.py'


def main(args: argparse.Namespace) -> None:
    check_count('--processes', args.processes, least=1)
    configs = stage_configs(args)
    check_budgets(configs['stage2'], args.budgets)
    default = Path('work_dirs', Path(args.config).stem)
    folder = Path(args.work_dir or default).absolute()
    adaptation = Adaptation(folder, args.processes)
    first = adaptation.train('stage1', configs['stage1'])
    front = adaptation.search(first)
    configs['stage2'].load_from = str(first)
    configs['stage2'].model.router.front = str(front)
    adapted = adaptation.train('stage2', configs['stage2'])
    second = adaptation.config('stage2')
    table = folder / 'budgets.json'
    times = configs['stage2'].model.router.get('latency_table')
    latency = ('--latency-table', times) if times else ()
    options = ('--work-dir', folder / 'test', '--out', table, *latency)
    budgets = ('--budgets', *args.budgets)
    adaptation.call('test', second, adapted, *budgets, *options, alone=True)
    exported = [folder / 'export' / text for text in args.budgets]
    for text, out in zip(args.budgets, exported, strict=True):
        files = ('--format', *args.format, '--out', out)
        which = ('--budget', text, *latency)
        adaptation.call('export', second, adapted, *which, *files, alone=True)
    print(
        f'\nAdapted checkpoint: {adapted}\nIts config: {second}\n'
        f'Pareto front: {front}\nBudgets: {table}\n'
        f'Exported networks: {", ".join(map(os.fspath, exported))}'
    )


if __name__ == '__main__':
    run_tool(main, args)
