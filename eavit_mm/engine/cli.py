"""The border: from a command line to a runner, and from an error to a line.

What is mmengine's, mmpretrain's or torch's is not checked before it is
built. Whatever comes up while a part is built or a checkpoint is loaded is
caught here, once, and named by the part of the config or the file.
"""

import logging
import os
import re
import shlex
import signal
import sys
import warnings
from argparse import Namespace
from ast import literal_eval
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from traceback import extract_tb, print_exception
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS, init_default_scope
from mmengine.runner import Runner
from mmengine.runner import runner as mmengine_runner
from mmpretrain.registry import MODELS

from eavit_mm.datasets.published import how_to_get
from eavit_mm.engine import watched_data
from eavit_mm.engine.calibration import norm_batches
from eavit_mm.engine.checkpoint import (
    USER_ERRORS,
    check_moments,
    check_resumable,
    last_checkpoint,
    naming,
    one_line,
    read_checkpoint,
)
from eavit_mm.engine.metrics import EmbeddingMetric
from eavit_mm.engine.run_checks import check_keys
from eavit_mm.engine.unwrap import elastic_model
from eavit_mm.models import ElasticModelMixin
from eavit_mm.options import check_choice, check_mapping, check_path
from eavit_mm.registry import check_options
from eavit_mm.weights.pretrained import register_loader

_DATALOADERS = tuple(
    f'{name}_dataloader' for name in ('train', 'val', 'search', 'test')
)
# What every run of mmengine says of itself: environment, config, hooks, its
# own use of its old file clients.
_INVENTORY = re.compile(
    r'\n-+\nSystem environment:|Config:\n|Hooks will be executed in|'
    r'Distributed training is not used|"(FileClient|HardDiskBackend)" |'
    r'The prefix is not set in metric class'
)
# Warnings of mmengine and of torch's pt2 about themselves, on every run.
_NOT_OURS = (
    'pkg_resources is deprecated',
    r'`isinstance\(treespec, LeafSpec\)` is deprecated',
    'The given buffer is not writable',
)
# How mmengine's runner names the methods that build its parts.
_BUILDS = re.compile(
    r'build_(\w+)|register_(\w+_hooks)|_init_(model)_weights|'
    r'turn_on_(\w+)|_maybe_(compile)|(scale_lr)'
)


def run_tool(main: Callable[..., None], *args: Any) -> None:
    """Runs a tool; what the user can put right becomes one line.

    Raises:
        SystemExit: With status 1 and 'error: ...' as the last line. The
            traceback is in the log file; where there is none yet, that of an
            error whose words may not say enough is in a file that it names.
            Stopped by a signal, with its number and how to go on.
    """
    for message in _NOT_OURS:
        warnings.filterwarnings('ignore', message)
    try:
        with _sigterm_as_ctrl_c():
            main(*args)
            leave_ranks()
    except KeyboardInterrupt as stop:
        # torchrun sends its ranks a second one, which would come up at exit.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        number = stop.args[0] if stop.args else signal.SIGINT
        if os.environ.get('RANK', '0') == '0':
            name = signal.Signals(number).name
            sys.stderr.write(f'\nstopped by {name}; {_how_to_go_on(*args)}\n')
        raise SystemExit(128 + number) from None
    except Exception as error:
        part = part_of(error)
        is_plain = isinstance(error, USER_ERRORS)
        if part is None and not is_plain:
            raise
        text = f'error: {part}: ' if part else 'error: '
        text += one_line(error)
        if isinstance(error, FileNotFoundError) and (how := how_to_get(text)):
            text += f'; to get it: {how}'
        if not _log_traceback(error) and not is_plain:
            with NamedTemporaryFile(
                'w', prefix='eavit_mm_', suffix='.log', delete=False
            ) as file:
                print_exception(error, file=file)
            text += f'; its traceback is in {file.name}'
        raise SystemExit(text) from error


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Ends a tool in order: what it has started and holds ends with it."""

    def stop(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)  # the second ends it at once
        raise KeyboardInterrupt(number)

    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        # Whoever ignores them, as nohup does, has a reason.
        if signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    except Exception as error:
        # mmengine takes whatever comes up in a config's layout for its fault.
        cause: Any = error
        while cause := cause.__context__:
            if isinstance(cause, KeyboardInterrupt):
                raise cause from None
        raise
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _how_to_go_on(args: Any = None) -> str:
    """The command that goes on with a tool that was stopped."""
    command = f'python {shlex.join(sys.argv)}'
    if not hasattr(args, 'resume'):
        return f'to begin anew: {command}'
    if not args.resume:
        command += ' --resume'
    if getattr(args, 'launcher', 'none') != 'none':
        return 'to go on: the same command, with --resume'
    return f'to go on: {command}'


def part_of(error: BaseException) -> str | None:
    """What mmengine's runner built as an error came up, if it did.

    Such as 'train_dataloader'.
    """
    files = (mmengine_runner.__file__, watched_data.__file__)
    methods = dict.fromkeys(  # each once: ours hands on to the runner's
        frame.name
        for frame in extract_tb(error.__traceback__)
        if frame.filename in files or frame.name.startswith('turn_on_')
    )
    found = filter(None, map(_BUILDS.fullmatch, methods))
    built = [match[match.lastindex or 0] for match in found]
    # Data and evaluator are built by their loop.
    part = '_'.join(built).replace('_loop_', '_').replace('_loop', '_cfg')
    return part or ('config' if 'from_cfg' in methods else None)


def _log_traceback(error: BaseException) -> bool:
    """Writes an error to the run's log file alone; whether there is one."""
    logger = MMLogger.get_current_instance()
    files = [h for h in logger.handlers if isinstance(h, logging.FileHandler)]
    how = (type(error), error, error.__traceback__)
    text = 'The run ends with an error'
    record = logger.makeRecord(
        logger.name, logging.ERROR, __file__, 0, text, (), how
    )
    for handler in files:
        handler.handle(record)
    return bool(files)


def leave_ranks() -> None:
    """Ends the group of processes: one that exits within it may abort."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def load_config(args: Namespace, **dataloader: Any) -> Config:
    """The config of a command line, without its ``--cfg-options``.

    Args:
        args: With ``config`` and the options that tools with a runner share.
        **dataloader: Further defaults of every data loader.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(args.config).stem))
    # mmseg's and mmpretrain's samples need different collate functions.
    is_mmseg = cfg.get('default_scope') == 'mmseg'
    collate = 'pseudo_collate' if is_mmseg else 'default_collate'
    for field in _DATALOADERS:
        if cfg.get(field) is not None:
            check_mapping(f'{cfg.filename}: {field}', cfg[field], 'options')
            defaults = dict(collate_fn=dict(type=collate), pin_memory=True)
            cfg[field] = {**defaults, **dataloader, **cfg[field]}
            if args.no_pin_memory or not torch.cuda.is_available():
                cfg[field].pin_memory = False
    return cfg


def merge_options(cfg: Config, args: Namespace) -> None:
    """Applies ``--cfg-options``, which win over everything else.

    Raises:
        ValueError: Names the first that cannot be read, or has no place.
    """
    for option in args.cfg_options:
        with naming(f'--cfg-options {option:.80}'):
            key, value = _read_option(option)
            cfg.merge_from_dict({key: value})
    for field in _DATALOADERS:
        if cfg.get(field) is not None:
            check_mapping(field, cfg[field], 'options')
            if not cfg[field].get('num_workers'):
                # torch refuses persistent workers where there are none.
                cfg[field]['persistent_workers'] = False


def _read_option(option: str) -> tuple[str, Any]:
    """A key and a value, as mmengine's DictAction reads them.

    It never returns from some brackets that do not fit, takes others for
    letters, and drops the spaces of a path: it gets what it reads well.
    """
    found = re.fullmatch(r'([^.=\s]+(?:\.[^.=\s]+)*)=(.*)', option, re.DOTALL)
    if not found:
        raise ValueError('must be KEY=VALUE, such as model.head.num_classes=2')
    key, text = found.groups()
    text = re.sub(r"""^(['"])(.*)\1$""", r'\2', text.strip())
    if text[:1] not in ('[', '(', '{') and ',' not in text:
        return key, DictAction._parse_int_float_bool(text)
    # With 0 for every word, brackets and commas must be Python's.
    shape = re.sub(r'[^][(){},\s][^][(){},]*', '0', text)
    try:
        parts = literal_eval(f'[{shape}]')
    except (SyntaxError, ValueError, MemoryError) as error:
        raise ValueError(
            'brackets and commas must form a list, such as [a,b] or (1,[2,3])'
        ) from error
    if re.search(r'[^\s,[(]\s+[^\s,\])]', text) or '{' in text:
        raise ValueError('a list holds no dicts, nor words with spaces')
    text = f'[{text}]' if len(parts) > 1 else text
    return key, DictAction._parse_iterable(text)


def require_parts(cfg: Config, asked_by: str, *parts: str) -> None:
    """Raises ``ValueError`` if a config leaves out what a tool needs."""
    for part in parts:
        if not isinstance(value := cfg.get(part), dict):
            raise ValueError(
                f'{asked_by}: {part}={value!r:.80} in {cfg.filename}; must be '
                'a dict'
            )


def rename_config(cfg: Config, tool: str) -> Config:
    """The config under a name of its own, such as ``vitb_search.py``.

    A runner writes its config into the work directory, where under its own
    name that of a training may lie, if not the very file that was given.
    """
    path = Path(cfg.filename or 'config.py')
    name = path.with_name(f'{path.stem}_{tool}{path.suffix}')
    return Config(cfg.to_dict(), cfg_text=cfg.text, filename=str(name))


class _Runner(Runner):
    """mmengine's, whose terminal shows what a run does, not all it is."""

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """See the base class; mmengine has no word for TF32."""
        if (precision := env_cfg.get('float32_matmul_precision')) is not None:
            place = 'env_cfg.float32_matmul_precision'
            check_choice(place, precision, ('highest', 'high', 'medium'))
            torch.set_float32_matmul_precision(precision)
        super().setup_env(env_cfg)

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """See the base class; metrics of embeddings get the network."""
        built = super().build_evaluator(evaluator)
        for metric in built.metrics:
            if isinstance(metric, EmbeddingMetric):
                metric.attach(self.model, self.cfg)
        return built

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """See the base class."""
        logger = super().build_logger(*args, **kwargs)
        logger.handlers[0].addFilter(  # the terminal's
            lambda record: not _INVENTORY.match(record.getMessage())
        )
        logger.info(f'All that this run is made of: {logger.log_file}')
        return logger


def build_runner(cfg: Config) -> Runner:
    """The runner that a config asks for; without a GPU, over gloo.

    A checkpoint to load is read before anything is built, and what does not
    fit is named by the file.

    Args:
        cfg: To resume, it gets the name of the latest checkpoint, and the
            seed of the run that goes on.

    Raises:
        ValueError: Names the part of the config, or the checkpoint.
    """
    check_mapping(f'{cfg.filename}: model', cfg.get('model'), 'options')
    check_options('', dict(cfg.items()))
    check_keys(cfg)
    randomness = cfg.get('randomness')
    if isinstance(randomness, Mapping) and randomness.get('deterministic'):
        # cuBLAS refuses to be without it.
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    if cfg.launcher == 'pytorch' and not torch.cuda.is_available():
        # mmengine would choose a GPU for each process first.
        with naming('--launcher pytorch'):
            torch.distributed.init_process_group('gloo')
    _read_checkpoint_of(cfg)
    if 'runner_type' in cfg:
        with naming('runner_type'):
            runner = RUNNERS.build(cfg)
    else:
        runner = _Runner.from_cfg(cfg)
    load = runner.load_or_resume

    def load_or_resume() -> None:
        with naming(cfg.get('load_from')):
            load()
            if cfg.get('resume') and hasattr(
                runner.optim_wrapper, 'optimizer'
            ):
                check_moments(runner.optim_wrapper.optimizer)

    runner.load_or_resume = load_or_resume
    watched_data.watch_data(runner)
    return runner


def _read_checkpoint_of(cfg: Config) -> None:
    """Reads the checkpoint that a run begins with, and hands it to mmengine.

    Every other file that mmengine loads is read as strictly.
    """
    if cfg.get('resume') and not cfg.get('load_from'):
        cfg.load_from = last_checkpoint(cfg.work_dir)
    path = cfg.get('load_from')
    check_path('load_from', path)
    waiting: dict[str, Any] = {}
    if path:
        waiting[path] = checkpoint = read_checkpoint(path)
        if cfg.get('resume'):
            with naming(path):
                check_resumable(checkpoint, cfg.get('param_scheduler'))
            seed = checkpoint['meta'].get('seed')
            if seed is not None:
                # mmengine gives it to a part of the run only.
                cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)

    def load_from_anywhere(filename: str, map_location: Any = None) -> Any:
        # Handed over, not kept: it is as large as the network.
        return waiting.pop(filename, None) or read_checkpoint(filename)

    register_loader(load_from_anywhere)


def build_model(cfg: Config) -> Any:
    """The model of a config without a runner.

    Args:
        cfg: Its model gets the config's preprocessor and loses its
            ``init_cfg``: its weights come from a checkpoint, or do not
            matter.

    Raises:
        ValueError: If it cannot be built, or a class or an option of ours in
            it is not known.
    """
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    model = cfg.get('model')
    check_mapping(f'{cfg.filename}: model', model, 'options')
    check_options('model', model)
    if 'backbone' in model:
        model['backbone']['init_cfg'] = None
    model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    with naming('model'):
        return MODELS.build(model)


def build_supernet(cfg: Config, asked_by: str) -> ElasticModelMixin:
    """:func:`build_model` of a supernet, in evaluation mode.

    Args:
        cfg: See there.
        asked_by: Name of the part that needs it, for the message.

    Raises:
        ValueError: Likewise, or if the config has no elastic model.
    """
    supernet: Any = elastic_model(build_model(cfg), asked_by)
    supernet._config = cfg  # where mmpretrain's functions keep it
    supernet.norm_batches = norm_batches(cfg)
    supernet.eval()
    return supernet


def read_config(path: str) -> Config:
    """The config of a file; ``ValueError`` if it is there and none."""
    file = Path(path).expanduser()
    if not file.is_file():
        what = 'a folder' if file.is_dir() else 'not there'
        raise FileNotFoundError(
            f'{path} is {what}; must be the path of a config (`python -m '
            'eavit_mm` names the folder of ours)'
        )
    try:
        return Config.fromfile(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # a config is code: it can raise anything
        raise ValueError(
            f'{path} is no config that can be read ({one_line(error)})'
        ) from error
