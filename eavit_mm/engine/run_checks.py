"""What a run is refused for before its first step, beyond its parts."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from difflib import get_close_matches
from inspect import signature
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner, ValLoop

from eavit_mm.engine.calibration import preserved_random_state
from eavit_mm.engine.fitness import as_number
from eavit_mm.engine.unwrap import unwrap
from eavit_mm.models import ElasticModelMixin
from eavit_mm.options import is_int
from eavit_mm.space.samplers import LargestSampler

# Keys of a config beside the runner's arguments: mmengine's, mmpretrain's,
# ours. Pipelines are variables that nobody misspells to good effect.
_KEYS = [
    *signature(Runner.__init__).parameters,
    *('activation_checkpointing', 'compile', 'efficient_conv_bn_eval'),
    *('custom_imports', 'detect_anomalous_params', 'runner_type', 'sync_bn'),
    *('find_unused_parameters', 'model_wrapper_cfg', 'vis_backends'),
    *('search_cfg', 'search_dataloader', 'search_evaluator', 'stage1'),
    *('tta_model', 'tta_pipeline', 'train_pipeline', 'val_pipeline'),
    *('test_pipeline', 'pipeline'),
]


def check_keys(cfg: Config) -> None:
    """Raises if a top-level key that nothing reads looks like a known one.

    A config may define what variables it likes; one whose value stands in a
    known part too has been used there.

    Raises:
        ValueError: Names it and what it is taken for.
    """
    used = repr({key: cfg[key] for key in cfg if key in _KEYS})
    for key in cfg:
        close = get_close_matches(key, _KEYS, 1, cutoff=0.8)
        value = cfg[key]
        is_variable = isinstance(value, dict | list) and repr(value) in used
        if key not in _KEYS and close and not is_variable:
            raise ValueError(
                f'{key}={value!r:.80}: no tool reads this key; is it '
                f'{close[0]}? Give a variable of your own another name'
            )


def check_training(runner: Runner) -> None:
    """Raises for what can be known before a training and is found late.

    The training data are built by this.

    Raises:
        ValueError: If a schedule begins where the training ends, a hook or a
            schedule watches what no validation reports, or shapes that change
            are to be compiled.
    """
    if runner.train_loop is None:
        return
    for place, schedule in _parts('param_scheduler', runner.param_schedulers):
        _check_schedule(runner, place, schedule)
    if type(runner.val_loop) is ValLoop:  # ours does so itself
        check_monitors(runner, lambda: reported_numbers(runner.val_loop))
    model = unwrap(runner.model)
    if (
        runner.cfg.get('compile', False) not in (None, False)
        and isinstance(model, ElasticModelMixin)
        and (not isinstance(model.sampler, LargestSampler) or model.router)
    ):
        raise ValueError(
            f'compile={runner.cfg.compile!r}: every subnet has shapes of its '
            'own, and torch would compile each layer anew for them, which '
            'takes many times as long as the training; leave it out, or '
            "train the largest alone (model.sampler.type='eavit_mm."
            "LargestSampler')"
        )


def _parts(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Schedules or hooks, built or not, with their places in the config."""
    if isinstance(value, Mapping) and 'type' not in value:
        for name, part in value.items():
            yield from _parts(f'{place}.{name}', part)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _parts(f'{place}.{index}', part)
    elif value is not None:
        yield place, value


def _check_schedule(runner: Runner, place: str, schedule: Any) -> None:
    """Refuses what a shortened training leaves no time for."""
    if not isinstance(schedule, Mapping):
        return
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


def check_monitors(
    runner: Runner, reported: Callable[[], list[str] | None]
) -> None:
    """Raises if a hook or a schedule watches what is not reported.

    Args:
        runner: Its schedules may be built or not.
        reported: Asked only if something is watched: names of the numbers of
            a validation, None if they are not known.

    Raises:
        ValueError: Names the first, and what is reported.
    """
    schedules = _parts('param_scheduler', runner.param_schedulers)
    watched = []
    for part in (*runner.hooks, *(schedule for _, schedule in schedules)):
        options = part if isinstance(part, Mapping) else vars(part)
        kind = options.get('type', type(part).__name__)
        for option in ('save_best', 'monitor'):
            keys = options.get(option) or ()
            for key in [keys] if isinstance(keys, str) else keys:
                if (option, key) != ('save_best', 'auto'):
                    watched.append((f'{kind}.{option}', key))
    names = reported() if watched else None
    for option, key in watched:
        if names is not None and key not in names:
            raise ValueError(
                f'{option}={key!r}: a validation reports the numbers {names}; '
                'must be one of them'
            )


@torch.no_grad()
def reported_numbers(loop: Any) -> list[str] | None:
    """Names of the numbers that an evaluator reports, told by two samples.

    Nothing in the run is changed by it. None where two samples do not do.
    """
    loader, model = loop.dataloader, loop.runner.model
    with preserved_random_state(), suppress(Exception):
        batch = loader.collate_fn([loader.dataset[i] for i in (0, 1)])
        evaluator = deepcopy(loop.evaluator)
        model.eval()
        evaluator.process(model.val_step(batch), batch)
        found = evaluator.evaluate(2)
        return [k for k, v in found.items() if as_number(v) is not None]
    return None
