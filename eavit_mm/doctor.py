"""What is wrong with a config, its data and its checkpoint: all of it."""

import io
import logging
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from copy import deepcopy
from functools import partial
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from eavit_mm.datasets.published import how_to_get
from eavit_mm.engine.checkpoint import (
    load_supernet,
    meta_of,
    one_line,
    read_checkpoint,
)
from eavit_mm.engine.cli import (
    build_model,
    load_config,
    merge_options,
    read_config,
)
from eavit_mm.engine.data_overlap import check_disjoint
from eavit_mm.engine.loops.subnet_loops import answer_to
from eavit_mm.engine.run_checks import check_batch, check_keys
from eavit_mm.engine.stages import run_logged
from eavit_mm.engine.watched_data import watch_data, without_download
from eavit_mm.files import project_folder
from eavit_mm.models import BudgetSolver, ElasticModelMixin
from eavit_mm.registry import wrong_options
from eavit_mm.space import Budget
from eavit_mm.space.cost_table import CostTable
from eavit_mm.space.fitting import shown
from eavit_mm.space.pareto import COSTS
from eavit_mm.weights.pretrained import check_pretrained

_PATH = 'correct the path in the command'
_OPTIONS = 'put it right in the config, or by --cfg-options'
_MODEL = 'put the model of the config right, or give the files it names'
# Without these a model still has its space.
_BESIDE = ('router', 'sampler', 'distillation')
_DATA = 'put the files there or correct data_root; '
_PUBLISHED = (
    '`python -m eavit_mm prepare_data` fetches the published sets of our '
    'configs'
)
_OVERLAP = "divide the samples by type='eavit_mm.Split', or into folders"
_FIRST = 'fetch them, or examine {} with other weights'
_WEIGHTS = 'docs/weights.md says which files can be read, and from where'
_CHECKPOINT = 'give a whole file that was trained by this very config'
_BUDGETS = 'ask for what the space reaches, or give files of this network'
_FORM = 'write it as 0.5, 50%, 8GMACs, 20Mparams or 5ms'
_TRAIN = 'put it right in the config: no training begins before'
# By these names tools/adapt.py writes what its stage 2 reads.
_COMES = {
    'load_from': 'work_dirs/*/stage1/*.pth',
    'model.router.front': 'work_dirs/*/search/pareto.json',
}
_NOT_TRIED = 'does not try its own checks before the above is put right'


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(' '.join(record.getMessage().split()))


def _places(value: Any) -> Iterator[str]:
    """Where the data sets in a part of a config lie."""
    if isinstance(value, dict):
        prefix = value.get('data_prefix') or ''
        if isinstance(prefix, dict):
            prefix = next(iter(prefix.values()), '')
        if value.get('data_root'):
            yield f'{value["data_root"]}/{prefix or value.get("ann_file", "")}'
        elif prefix:
            yield prefix
        for part in value.values():
            yield from _places(part)


class Doctor:
    """Looks at all there is, however much of it is wrong.

    Args:
        args: Of the command line.
        write: Gets each finding once: 'ok', 'warning' or 'wrong', its place,
            its words, and what to do.
    """

    def __init__(self, args: Namespace, write: Callable[..., None]) -> None:
        self.args, self.write = args, write
        self.model: Any = None
        self.is_right = True
        self.said: set[str] = set()

    def say(self, kind: str, place: str, text: str, remedy: str = '') -> None:
        """Writes a finding, unless it was found in another place."""
        self.is_right &= kind != 'wrong'
        if kind == 'ok' or text not in self.said:
            self.said.add(text)
            self.write(kind, place, text, remedy)

    def examine(self) -> None:
        """Finds what can be found without a step of training."""
        args, cfg = self.args, None
        if args.config:
            cfg = self.read()
        if cfg:
            with self.check('config', _OPTIONS):
                self.leave_out_what_comes(cfg)
            with self.check('model', _MODEL):
                self.build(cfg)
        if args.checkpoint:
            self.load(args.checkpoint)
        if isinstance(self.model, ElasticModelMixin):
            self.answer()
        if cfg:
            self.read_data(cfg)
            self.model = None  # the tools build their own
            self.try_tools(cfg)

    @contextmanager
    def check(
        self, place: str, remedy: str, kind: str = 'wrong'
    ) -> Iterator[None]:
        """Makes findings of what a block raises and of what it warns of."""
        logger, kept = MMLogger.get_current_instance(), _Kept()
        handlers, logger.handlers = logger.handlers, [kept]
        try:
            with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
                warnings.simplefilter('ignore')
                yield
        except (Exception, SystemExit) as error:  # a config may exit
            text = one_line(error).removeprefix(f'{place}: ')
            self.say(kind, place, text, remedy)
        finally:
            logger.handlers = handlers
            for text in dict.fromkeys(kept.texts):
                self.say('warning', place, text)

    def read(self) -> Config | None:
        """The config, and all options in it that are none."""
        cfg, is_file = None, Path(self.args.config).expanduser().is_file()
        with self.check('config', _OPTIONS if is_file else _PATH):
            cfg = load_config(self.args)
        if cfg is None:
            return None
        with self.check('config', _OPTIONS):
            merge_options(cfg, self.args)
            check_keys(cfg)
        with self.check('config', _OPTIONS):
            for text in wrong_options('', dict(cfg.items())):
                self.say('wrong', 'config', text, _OPTIONS)
        if self.is_right:
            self.say('ok', 'config', str(self.args.config))
        return cfg

    def leave_out_what_comes(self, cfg: Config) -> None:
        """Drops the files that earlier stages of an adaptation make."""
        paths = dict(load_from=cfg.get('load_from'))
        with suppress(AttributeError):  # a wrong model is told later
            paths['model.router.front'] = cfg.model.router.front
        for key, path in paths.items():
            if not path or '://' in path or Path(path).exists():
                continue
            text = f'{key}={path!r} is not there'
            if not (cfg.get('stage1') and Path(path).match(_COMES[key])):
                self.say('wrong', 'config', text, _OPTIONS)
                continue
            self.say('warning', 'config', f'{text}; tools/adapt.py makes it')
            self.args.cfg_options += [f'{key}=None']
            cfg.merge_from_dict({key: None})
            if key == 'load_from' and not self.args.checkpoint:
                with self.check('weights', _FIRST.format(cfg.stage1)):
                    backbone = read_config(cfg.stage1).model.backbone
                    check_pretrained(backbone.get('init_cfg'))

    def build(self, cfg: Config) -> None:
        """The model; its space, reachable range, curriculum and weights."""
        parts = deepcopy(cfg)
        model = parts.get('model')
        beside = _BESIDE if isinstance(model, dict) else ()
        for part in (None, *beside):  # what is left is looked at as well
            if part and not (self.model is None and model.get(part)):
                continue
            if part:
                model[part] = None
            with self.check('model', _MODEL):
                self.model = build_model(deepcopy(parts))
        if not isinstance(self.model, ElasticModelMixin):
            if self.model is not None:
                self.say('warning', 'model', 'is not elastic: has no subnets')
            return
        with self.check('space', _MODEL):
            space: Any = self.model.backbone.space
            self.say('ok', 'space', f'{space.size():.3g} subnets')
            self.check_levels(parts)
        init = cfg.model.backbone.get('init_cfg')
        steps = init if isinstance(init, list) else [init or {}]
        paths = (step.get('checkpoint') for step in steps)
        path = str(next(filter(None, paths), ''))
        if '://' in path:
            self.say('warning', 'weights', f'{path} is fetched later')
        elif path:
            with self.check('weights', _WEIGHTS):
                self.model.backbone.init_cfg = init
                self.model.backbone.init_weights()
                self.say('ok', 'weights', path)

    def check_levels(self, cfg: Config) -> None:
        """Raises, as a training that begins, if a curriculum does not fit."""
        length = cfg.get('train_cfg') or {}
        end = length.get('max_epochs', length.get('max_iters'))
        loop = SimpleNamespace(max_epochs=end, max_iters=end)
        begun = dict(model=self.model, train_loop=loop, iter=0, epoch=0)
        for hook in cfg.get('custom_hooks') or ():
            if end and 'levels' in hook:
                HOOKS.build(hook).before_train(SimpleNamespace(**begun))

    def load(self, path: str) -> None:
        """A checkpoint, alone or into the model."""
        with self.check('checkpoint', _CHECKPOINT):
            if isinstance(self.model, ElasticModelMixin):
                read = dict(meta=load_supernet(self.model, path))
            else:
                read = read_checkpoint(path)
            ours = meta_of(read)
            known = {k: v for k, v in ours.items() if k != 'space'}
            self.say('ok', 'checkpoint', f'{path} {known or ""}'.rstrip())

    def answer(self) -> None:
        """The reachable range, and who answers the budgets."""
        args, solver = self.args, None
        files = dict(table=args.latency_table), dict(front=args.front)
        given: dict[str, Any] = dict(
            count=args.count or 'exact', part=args.part
        )
        for more in ({}, *files):  # without those that cannot be read
            with self.check('budgets', _BUDGETS):
                solver = BudgetSolver(self.model, **given, **more)
                given |= more
        if solver is None:
            return
        for kind in COSTS:
            if kind == 'latency' and not solver.table:
                continue
            costs = CostTable(solver.space, solver.cost(kind))
            ends = map(shown, (costs.lowest, costs.highest))
            share = costs.lowest / costs.highest
            text = f'{kind} from {" to ".join(ends)} ({share:.1%} to 100 %)'
            self.say('ok', 'space', text)
        for text in args.budgets:
            budget = None
            with self.check('budgets', _FORM):
                budget = Budget.parse(text)
            if budget is None:
                continue
            with self.check('budgets', _BUDGETS):
                _, row = answer_to(budget, solver, args.by)
                found = shown(row['delivered'])
                by = f'{row["by"]}: {found}, {row["used"]:.0%} of it'
                self.say('ok', 'budgets', f'{text} by {by}')

    def read_data(self, cfg: Config) -> None:
        """Each data set, some of its samples, and what two have in common."""
        names = ('train', 'val', 'search', 'test')
        model = self.model or SimpleNamespace(data_preprocessor=lambda *_: _)
        builder: Any = SimpleNamespace(
            cfg=cfg,
            model=model,
            visualizer=SimpleNamespace(),
            build_dataloader=Runner.build_dataloader,
            build_evaluator=partial(Runner.build_evaluator, None),
        )
        watch_data(builder)
        found: dict[str, Any] = {}
        for name in names:
            place = f'{name}_dataloader'
            if not cfg.get(place):
                continue
            how = how_to_get(' '.join(_places(cfg[place])))
            remedy = _DATA + (f'to get them: {how}' if how else _PUBLISHED)
            with self.check(place, remedy):
                parts = without_download(deepcopy(cfg[place]))
                loader = builder.build_dataloader(parts, seed=0)
                found[name] = data = loader.dataset
                check_batch('samples', loader, model, name == 'train')
                classes = getattr(data, 'metainfo', {}).get('classes') or ()
                text = f'{len(data)} samples, {len(classes)} classes'
                self.say('ok', place, text)
            if name == 'test' and name in found and self.model:
                builder._test_dataloader = loader
                builder._test_evaluator = deepcopy(cfg.get('test_evaluator'))
                with self.check('test', _OPTIONS):
                    Runner.build_test_loop(builder, cfg.get('test_cfg'))
        if 'search' in found:  # subnets are not chosen by these then
            found.pop('val', None)
        for pair in combinations(found, 2):
            chosen = 'train' in pair or cfg.get('search_cfg')
            kind = 'wrong' if chosen else 'warning'  # val is test by habit
            with self.check(' and '.join(pair), _OVERLAP, kind):
                check_disjoint({name: found[name] for name in pair})
                self.say('ok', ' and '.join(pair), 'share no sample')

    def try_tools(self, cfg: Config) -> None:
        """What the tools themselves say before they begin."""
        first = cfg.get('stage1') or self.args.config
        for name, part, config, *more in (
            ('train', 'train_cfg', self.args.config),
            ('search', 'search_cfg', first, 'none'),
        ):
            if not cfg.get(part):
                continue
            if not self.is_right:
                self.say('warning', name, f'tools/{name}.py {_NOT_TRIED}')
                continue
            tool = Path(project_folder() or '', 'tools', f'{name}.py')
            options = [
                option
                for option in self.args.cfg_options
                if config == self.args.config
                or not option.startswith(('model.router', 'load_from'))
            ]
            command = [sys.executable, tool, config, *more, '--check']
            command += ['--cfg-options', *options] if options else []
            said = io.StringIO()
            with self.check(name, _TRAIN), TemporaryDirectory() as folder:
                command += ['--work-dir', folder]
                log = Path(folder, 'doctor.log')
                try:
                    with redirect_stdout(said):
                        run_logged([*map(str, command)], log, name)
                except ValueError as error:  # the log goes with its folder
                    raise ValueError(
                        str(error).split('; its log')[0]
                    ) from None
                self.say('ok', name, f'tools/{name}.py would begin')
            for line in said.getvalue().splitlines():
                self.say('warning', name, line.removeprefix(f'{name}: '))
