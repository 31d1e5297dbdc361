"""All stages of an adaptation: train, search, train with router, export.

With --presets, the shortest of all: train stage 1, export uniform networks.
Started again with the same options, it goes on where it was stopped.
"""

import argparse

from arguments import add_config_options

PRESETS = ['0.25', '0.5', '0.75']


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config',
        help="config of stage 2; its 'stage1' names that of stage 1, which "
        'is enough for --presets',
    )
    parser.add_argument(
        '--work-dir',
        help='folder for all results (default: work_dirs/NAME OF CONFIG, and '
        '..._quick)',
    )
    parser.add_argument(
        '--data',
        metavar='DIR',
        help='images instead of the data of the config: DIR/train/CLASS/* '
        'and DIR/test/CLASS/*, or DIR/CLASS/*, in any format of OpenCV; of a '
        'segmentor DIR/images/{train,val}/* and DIR/annotations/{train,val}/*',
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='a tenth of the training, 40 evaluations: to see that it works',
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        '--budgets',
        nargs='+',
        default=['0.5', '0.25'],
        metavar='B',
        help='of the networks to evaluate and export (default: %(default)s)',
    )
    which.add_argument(
        '--presets',
        nargs='*',
        metavar='B',
        help='in place of --budgets: the largest uniform network within each '
        f'(default: {" ".join(PRESETS)}), after stage 1; no search, no router',
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
    parser.set_defaults(resume=True)  # by the same command
    found = parser.parse_args()
    if found.presets is not None:
        found.presets = found.presets or PRESETS
    return found


if __name__ == '__main__':
    args = parse_args()  # --help is answered before the imports below

import os
import sys
from collections.abc import Callable
from functools import partial
from logging import WARNING
from pathlib import Path
from shutil import rmtree
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger

from eavit_mm.analysis.html_report import EXPORTS, write_page
from eavit_mm.analysis.subnet_table import format_table
from eavit_mm.engine.adaptation import near_chance, shorten
from eavit_mm.engine.checkpoint import LAST, last_checkpoint
from eavit_mm.engine.cli import (
    build_supernet,
    merge_options,
    read_config,
    run_tool,
)
from eavit_mm.engine.image_folder import use_image_folder
from eavit_mm.engine.stages import (
    Stages,
    data_of,
    is_new,
    run_logged,
    source_of,
)
from eavit_mm.export.directory import check_folder, is_whole, read_report
from eavit_mm.export.formats import import_onnxruntime
from eavit_mm.files import check_unlocked, lock, read_json, write_atomically
from eavit_mm.models import BudgetSolver
from eavit_mm.options import check_count
from eavit_mm.registry import check_options
from eavit_mm.space import Budget
from eavit_mm.weights.pretrained import check_pretrained

TOOLS = Path(__file__).resolve().parent
# Of a whole training and search, what --quick does.
QUICK, QUICK_EVALUATIONS = 0.1, 40
# Settings of one stage alone.
_PRETRAINED, _ROUTER = 'model.backbone.init_cfg', 'model.router'


def stage_configs(args: argparse.Namespace) -> dict[str, Config]:
    """The configs of both stages, with what the options change.

    Raises:
        ValueError: If the config names no stage 1, or has no router, and no
            preset is asked for, which needs stage 1 alone.
    """
    given = read_config(args.config)
    router, first = (given.get('model') or {}).get('router'), given
    if isinstance(given.get('stage1'), str) and router:
        first = read_config(given.stage1)
    elif router or not args.presets:  # weights of stage 1 are wanted
        raise ValueError(
            f'{args.config}: stage1={given.get("stage1")!r}, model.router='
            f'{router!r}; must be the config of a stage '
            '2, which names that of stage 1, such as '
            'configs/eavit/vitmini_digits_stage2.py'
        )
    configs = dict(stage1=first, stage2=given)
    if not router:
        del configs['stage2']
    for name, cfg in configs.items():
        if args.data:
            use_image_folder(cfg, args.data)
        if args.quick:
            shorten(cfg, QUICK)
            if cfg.get('search_cfg'):
                cfg.search_cfg.max_evaluations = QUICK_EVALUATIONS
        # Stage 1 has no router, stage 2 begins with its weights.
        other = _PRETRAINED if name == 'stage2' else _ROUTER
        options = [
            option
            for option in args.cfg_options
            if not option.startswith(other)
        ]
        merge_options(cfg, argparse.Namespace(cfg_options=options))
    if args.presets:
        configs.pop('stage2', None)
    # What budgets limit, whoever answers them.
    router = given.model.get('router') if router else {}
    args.part = router.get('part', 'total')
    args.latency_table = router.get('latency_table')
    return configs


def check_budgets(cfg: Config, args: argparse.Namespace) -> None:
    """Raises, before anything runs, unless the networks can be had.

    Args:
        cfg: The config of the last stage.
        args: The budgets, and what they limit.

    Raises:
        ValueError: If one is none, or cannot be reached.
    """
    budgets = [Budget.parse(text) for text in args.budgets]
    cfg = Config(cfg.to_dict())
    cfg.model.router = None
    model = build_supernet(cfg, 'tools/adapt.py')
    solver = BudgetSolver(model, part=args.part, table=args.latency_table)
    for budget in budgets:
        solver.limits([budget])


def _kinds(args: Any) -> tuple[str, str]:
    """Names of the folder of exported networks, and of their table."""
    table = 'presets' if args.presets else 'budgets'
    return EXPORTS[table], table


class Adaptation:
    """The stages, each with a folder of its own.

    Args:
        folder: Holds the folders of all stages.
        configs: Of the stages of training; with presets of the first alone.
        args: Of the command line.
    """

    def __init__(
        self, folder: Path, configs: dict[str, Config], args: Any
    ) -> None:
        self.folder, self.configs, self.args = folder, configs, args
        self.stages = Stages(folder)
        *_, self.end = configs  # whose networks are used
        stages = ['stage1', 'search', 'stage2']
        if args.presets:
            stages = ['stage1']
        # Behind them a test, and an export for each budget.
        self.total, self.number = len(stages) + 1 + len(args.budgets), 0
        self.data = {name: data_of(cfg) for name, cfg in configs.items()}
        self.front = folder / 'search' / 'pareto.json'
        for second in [
            cfg for cfg in configs.values() if cfg.model.get('router')
        ]:
            # Those of the config have placeholders.
            second.load_from = second.model.router.front = None
        for name in stages:
            self.stages.check(name, self.source(name))

    def source(self, name: str, **more: str) -> dict[str, Any]:
        """What a stage is made from, as far as it is there."""
        stage = 'stage1' if name in ('stage1', 'search') else self.end
        begun = dict(checkpoint=self.last('stage1'))
        if not self.args.presets:
            begun['front'] = str(self.front)
        elif times := self.args.latency_table:
            begun['latency_table'] = str(Path(times).absolute())
        begun = {k: v for k, v in begun.items() if Path(v).is_file()}
        if self.args.presets:  # whose config has no router that says it
            begun['part'] = self.args.part
        searched = {k: v for k, v in begun.items() if k == 'checkpoint'}
        files = dict(stage1={}, search=searched)
        unread = dict(search=['test'], test=['search'])
        return source_of(
            self.configs[stage],
            self.data[stage],
            *unread.get(name, ['search', 'test']),
            **files.get(name, begun),
            **more,
        )

    def last(self, stage: str) -> str:
        """The last checkpoint of a stage of training."""
        return str(last_checkpoint(self.folder / stage))

    def make(
        self,
        name: str,
        source: dict[str, Any],
        is_there: Callable[[], bool],
        tool: str,
        *args: Any,
        alone: bool = False,
    ) -> None:
        """Runs a tool of this folder, unless its results are there."""
        command = [str(TOOLS / f'{tool}.py'), *map(str, args)]
        if not alone and self.args.processes > 1:
            command += ['--launcher', 'pytorch']
            start = ['-m', 'torch.distributed.run', '--standalone']
            number = f'--nproc_per_node={self.args.processes}'
            command = [*start, number, *command]
        self.number += 1
        how = self.stages.make(
            name, source, is_there, [sys.executable, *command]
        )
        print(f'[{self.number}/{self.total}] {name}: {how}', flush=True)

    def check(self) -> None:
        """Lets later stages say before the first what they will not take."""
        if self.args.presets or (self.folder / 'stage1').exists():
            return  # there are none, or they have been asked
        options = ('--check', '--work-dir', self.folder / 'check')
        for stage, tool, *more in (
            ('stage1', 'search', 'none'),
            ('stage2', 'train'),
        ):
            command = [TOOLS / f'{tool}.py', self.write(stage), *more]
            run_logged(
                [sys.executable, *map(str, (*command, *options))],
                self.folder / 'adapt.log',
                f'check of {tool} ({stage}.py)',
            )
        rmtree(self.folder / 'check')

    def write(self, stage: str) -> Path:
        """Writes the config of a stage of training."""
        config = self.folder / f'{stage}.py'
        text = self.configs[stage].pretty_text
        for path in (self.last('stage1'), str(self.front)):
            # Found there wherever this folder is moved to.
            inside = path.replace(str(self.folder), '{{fileDirname}}')
            text = text.replace(repr(path), f'"""{inside}"""')
        write_atomically(text.encode(), config)
        return config

    def train(self, stage: str) -> None:
        """A stage of the training."""
        work_dir, source = self.folder / stage, self.source(stage)
        self.stages.check(stage, source)
        if stage == 'stage2':
            cfg = self.configs[stage]
            cfg.load_from = self.last('stage1')
            cfg.model.router.front = str(self.front)
        config = self.write(stage)
        options = ('--work-dir', work_dir, '--resume')
        is_there = partial(os.path.isfile, self.last(stage))
        self.make(stage, source, is_there, 'train', config, *options)

    def search(self) -> None:
        """The search of stage 1's supernet."""
        work_dir, last = self.folder / 'search', self.last('stage1')
        options = ('--work-dir', work_dir, '--resume')
        config, source = self.folder / 'stage1.py', self.source('search')
        self.stages.check('search', source)
        is_there = self.front.is_file
        self.make('search', source, is_there, 'search', config, last, *options)

    def use(self) -> tuple[Path, list[Path]]:
        """Evaluates and exports the networks for the budgets."""
        args, last = self.args, self.last(self.end)
        adapted = (self.folder / f'{self.end}.py', last)
        times = args.latency_table
        limits = ('--latency-table', times) if times else ()
        limits += ('--part', args.part)
        limits += ('--by', 'uniform') if args.presets else ()
        kind, name = _kinds(args)
        table, work_dir = self.folder / f'{name}.json', self.folder / 'test'
        options = ('--out', table, '--work-dir', work_dir, *limits)
        source = self.source('test', adapted=last, budgets=str(args.budgets))
        self.make(
            *('test', source, table.is_file, 'test', *adapted),
            *('--budgets', *args.budgets, *options),
            alone=True,
        )
        places = [self.folder / kind / text for text in args.budgets]
        for text, out in zip(args.budgets, places, strict=True):
            made_from = dict(adapted=last, formats=str(args.format))
            source = self.source('export', **made_from)
            of = read_report(out).get('source', {})
            is_there = partial(is_whole, out, of, args.format)
            options = ('--format', *args.format, '--out', out, *limits)
            self.make(
                *(f'{kind}/{text}', source, is_there, 'export', *adapted),
                *('--budget', text, *options),
                alone=True,
            )
        return table, places


def main(args: argparse.Namespace) -> None:
    MMLogger.get_current_instance().addFilter(
        lambda said: said.levelno != WARNING or is_new(said.getMessage())
    )
    check_count('--processes', args.processes, least=1)
    configs = stage_configs(args)
    for cfg in configs.values():
        check_options('', dict(cfg.items()))
    name = Path(args.config).stem + ('_quick' if args.quick else '')
    folder = Path(args.work_dir or Path('work_dirs', name)).absolute()
    if not (folder / 'stage1').exists():  # which alone begins with them
        backbone = configs['stage1'].model.get('backbone') or {}
        check_pretrained(backbone.get('init_cfg'))
    different: dict[Any, str] = {}  # by what they mean: 50% is 0.5
    for each in map(Budget.parse, args.presets or args.budgets):
        different.setdefault((each.kind, each.value), each.text)
    args.budgets = [*different.values()]
    check_budgets([*configs.values()][-1], args)
    if 'onnx' in args.format:
        import_onnxruntime()
    for text in args.budgets:
        check_folder(folder / _kinds(args)[0] / text)
    with lock(folder / 'stages.json'):
        for stage in configs:  # a killed command may have left its training
            check_unlocked(folder / stage / LAST)
        adaptation = Adaptation(folder, configs, args)
        adaptation.check()
        adaptation.train('stage1')
        if not args.presets:
            adaptation.search()
            adaptation.train('stage2')
        table, exported = adaptation.use()
        try:
            path = write_page(folder, args.quick)
            page = f'All of it in one page: {path}'
        except Exception as error:  # all else is whole without it
            page = f'Without a page: {type(error).__name__}: {error}'
    found = read_json(table, dict)
    head = configs[adaptation.end].model.get('head') or {}
    warning = (
        'A quick run shows that all works; its numbers say nothing.'
        if args.quick
        else near_chance(found, head.get('num_classes'))
    )
    lines = [
        f'\n{format_table(found["subnets"], found["metric"])}',
        warning,
        f'Adapted checkpoint: {adaptation.last(adaptation.end)}',
        f'Its config: {folder / adaptation.end}.py',
        '' if args.presets else f'Pareto front: {adaptation.front}',
        f'Budgets: {table}',
        f'Exported networks: {", ".join(map(os.fspath, exported))}',
        page,
    ]
    print('\n'.join(filter(None, lines)))


if __name__ == '__main__':
    run_tool(main, args)
