"""What a run is refused for before its first step, beyond its parts."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.logging import print_log
from mmengine.runner import Runner, ValLoop

from eavit_mm.engine.calibration import KEPT, preserved_random_state
from eavit_mm.engine.checkpoint import LAST, last_checkpoint, naming
from eavit_mm.engine.fitness import numbers_in, report_of
from eavit_mm.engine.unwrap import unwrap
from eavit_mm.files import check_unlocked
from eavit_mm.models import ElasticModelMixin
from eavit_mm.options import is_int
from eavit_mm.space.samplers import LargestSampler
from eavit_mm.weights.read import read_torch_file

# Keys of a config beside the runner's arguments: mmengine's, mmpretrain's,
# ours. Pipelines are variables that nobody misspells to good effect.
_KEYS = [
    *signature(Runner.__init__).parameters,
    *('activation_checkpointing', 'compile', 'efficient_conv_bn_eval'),
    *('custom_imports', 'detect_anomalous_params', 'runner_type', 'sync_bn'),
    *('find_unused_parameters', 'model_wrapper_cfg', 'vis_backends'),
    *('search_cfg', 'search_dataloader', 'search_evaluator', 'stage1', KEPT),
    *('tta_model', 'tta_pipeline', 'train_pipeline', 'val_pipeline'),
    *('test_pipeline', 'pipeline'),
]
# Images that are tried together before a training.
_TRIED = 8
# Where launchers say which process this is.
_RANKS = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')


def check_keys(cfg: Config) -> None:
    """Warns of a top-level key that nothing reads and that looks like another.

    Variables are free: one whose value stands in a known part is used there,
    and any other may be of use to its author.
    """
    used = repr({key: cfg[key] for key in cfg if key in _KEYS})
    for key in cfg:
        close = get_close_matches(key, _KEYS, 1, cutoff=0.8)
        value = cfg[key]
        is_variable = isinstance(value, dict | list) and repr(value) in used
        if key not in _KEYS and close and not is_variable:
            print_log(
                f'{key}={value!r:.80}: no tool reads this key; is it '
                f'{close[0]}?',
                logger='current',
                level=logging.WARNING,
            )


def check_work_dir(cfg: Config) -> None:
    """Raises if a training would take its work directory from another.

    To be asked before there is a runner, which writes its config there.

    Raises:
        ValueError: Says who trains there, or what has been trained.
    """
    place = _RANKS.get(str(cfg.get('launcher')), '')
    is_first = os.environ.get(place, '0') == '0'
    folder, loop = cfg.get('work_dir'), cfg.get('train_cfg')
    if not (is_first and isinstance(folder, str) and isinstance(loop, dict)):
        return
    check_unlocked(Path(folder, LAST))
    last = last_checkpoint(folder)
    if cfg.get('resume') or last is None:
        return
    try:
        there = read_torch_file(last)
        length = there['message_hub']['runtime_info']['max_iters']
        has_ended = there['meta']['iter'] >= length
    except (OSError, ValueError, KeyError, TypeError):
        return  # no training that could go on
    if has_ended:
        raise ValueError(
            f'{folder}: a training has ended there, with {Path(last).name}; '
            'to keep it, give --resume or another --work-dir; to train anew, '
            'delete it'
        )


def check_training(runner: Runner) -> None:
    """Raises ``ValueError`` for what a training would find late or never."""
    if runner.train_loop is None:
        return
    for place, schedule in _schedules(runner):
        if isinstance(schedule, Mapping):
            _check_end(runner, place, schedule)
    for hook in runner.hooks:
        if check := getattr(hook, 'check_training', None):
            check(runner)
    if type(runner.val_loop) is ValLoop:  # ours does so itself
        check_monitors(runner.val_loop)
    model = unwrap(runner.model)
    check_batch('train_dataloader', runner.train_loop.dataloader, model, True)
    if runner.val_loop is not None:
        check_batch('val_dataloader', runner.val_loop.dataloader, model)
    compiled = runner.cfg.get('compile')
    if isinstance(compiled, Mapping):  # {} asks for it as well
        compiled = not compiled.get('disable')
    if (
        compiled
        and isinstance(model, ElasticModelMixin)
        and (not isinstance(model.sampler, LargestSampler) or model.router)
    ):
        raise ValueError(
            f'compile={runner.cfg.compile!r}: torch would compile every layer '
            'anew for the shapes of each subnet, for longer than the training '
            "takes: leave it out, or train with 'eavit_mm.LargestSampler'"
        )


def check_batch(
    place: str, loader: Any, model: Any, training: bool = False
) -> None:
    """Raises ``ValueError`` if images do not come out in one size."""
    data = loader.dataset
    number = min(loader.batch_size or 1, _TRIED, len(data))
    with preserved_random_state():
        # A validation takes them in order, a training any of them.
        last = len(data) - 1 if training else number - 1
        tried = np.linspace(0, last, number).astype(int).tolist()
        samples = [data[index] for index in tried]
        with naming(f'{place}: images of a batch must come out in one size'):
            model.data_preprocessor(loader.collate_fn(samples), training)


def _schedules(runner: Runner) -> Iterator[tuple[str, Any]]:
    """Schedules, built or not, of one optimizer or several, and places."""
    waiting = [('param_scheduler', runner.param_schedulers)]
    for place, value in waiting:
        several = isinstance(value, Mapping) and 'type' not in value
        if several or isinstance(value, list | tuple):
            parts = value.items() if several else enumerate(value)
            waiting += [(f'{place}.{key}', part) for key, part in parts]
        elif value is not None:
            yield place, value


def _check_end(runner: Runner, place: str, schedule: Any) -> None:
    """Refuses what a shortened training leaves no time for."""
    unit = 'epochs' if schedule.get('by_epoch', True) else 'iters'
    length = getattr(runner, f'max_{unit}')
    begin, end = schedule.get('begin', 0), schedule.get('end', length)
    if is_int(begin) and is_int(end) and begin >= end:
        raise ValueError(
            f'{place}: {schedule["type"]} begins at {begin} and ends at '
            f'{end}, in a training of {length} {unit}: set {place}.begin, and '
            'the end of the schedule before it, to less, or '
            f'train_cfg.max_{unit} to more'
        )


def check_monitors(loop: Any, reported: Iterable[str] | None = None) -> None:
    """Raises ``ValueError`` if something watches what a validation lacks.

    Args:
        loop: The validation; may have ``names_of(numbers)``.
        reported: The numbers that it reported; None asks its evaluator, with
            two samples, and says nothing where these do not do.
    """
    for place, key in _watched(loop.runner):
        if reported is None:
            numbers = reported_numbers(loop)
            if numbers is None:
                return
            reported = getattr(loop, 'names_of', list)(numbers)
        known = [*reported]
        is_first = place.endswith('save_best') and key == 'auto' and known
        if key not in known and not is_first:
            raise ValueError(
                f'{place}={key!r}: a validation reports the numbers {known}; '
                'must be one of them'
            )


def _watched(runner: Runner) -> Iterator[tuple[str, str]]:
    """What hooks and schedules watch, each with the option that says so."""
    hooks = (
        hook
        for hook in runner.hooks
        if isinstance(hook, CheckpointHook | EarlyStoppingHook)
    )
    schedules = (schedule for _, schedule in _schedules(runner))
    for part in (*hooks, *schedules):
        options = dict(part if isinstance(part, Mapping) else vars(part))
        kind = options.get('type', type(part).__name__)
        if 'ReduceOnPlateau' in str(kind):
            options.setdefault('monitor', 'loss')  # its own default
        for option in ('save_best', 'monitor'):
            keys = options.get(option) or ()
            for key in [keys] if isinstance(keys, str) else keys:
                yield f'{kind}.{option}', key


@torch.no_grad()
def reported_numbers(loop: Any) -> list[str] | None:
    """Names of the numbers of an evaluator; nothing is changed by it.

    None where two samples do not do.
    """
    loader, model = loop.dataloader, loop.runner.model
    with preserved_random_state(), suppress(Exception):
        evaluator = deepcopy(loop.evaluator)
        evaluator.metrics = [
            metric
            for metric in evaluator.metrics
            if not isinstance(metric, DumpResults)  # writes its file
        ]
        model.eval()
        for i in (0, 1):  # alone: they may differ in size
            batch = loader.collate_fn([loader.dataset[i]])
            evaluator.process(model.val_step(batch), batch)
        return list(numbers_in(report_of(evaluator, 2)))
    return None
