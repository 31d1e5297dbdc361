"""Options that mmengine looks at late or never, checked before a run.

What an option may be, its part says itself: by the annotations of its
arguments. The model is not asked: it is built at once, and annotations of
mmpretrain's networks are less exact.
"""

from collections.abc import Iterator, Mapping
from inspect import Parameter, isclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from mmengine.config import Config
from mmengine.registry import (
    HOOKS,
    LOOPS,
    OPTIM_WRAPPERS,
    PARAM_SCHEDULERS,
    Registry,
)
from mmengine.runner import Runner, set_random_seed

from eavit_mm.engine.config_error import parameters
from eavit_mm.engine.unwrap import unwrap
from eavit_mm.options import check_mapping

# Part of a config: where its types are, and what it is without a type.
_PARTS: dict[str, tuple[Registry, str | None]] = {
    'optim_wrapper': (OPTIM_WRAPPERS, 'OptimWrapper'),
    'param_scheduler': (PARAM_SCHEDULERS, None),
    'train_cfg': (LOOPS, 'EpochBasedTrainLoop'),
    'default_hooks': (HOOKS, None),
    'custom_hooks': (HOOKS, None),
}
_WORDS: dict[type, str] = {
    bool: 'True or False',
    dict: 'a dict',
    Mapping: 'a dict',
    float: 'a number',
    int: 'an integer',
    list: 'a list',
    str: 'a text',
    NoneType: 'None',
}


def check_config(cfg: Config) -> None:
    """Raises if an option cannot be what its part takes.

    Judged are texts and fractions: they are wrong for certain where an
    annotation does not have them.

    Args:
        cfg: Of a whole run. Types that are not known are passed over: to
            build them is an error.

    Raises:
        ValueError: Names the option, its value, and what is valid.
    """
    _check_arguments('', cfg, Runner)
    _check_randomness(cfg.get('randomness', {}))
    for place, (registry, default) in _PARTS.items():
        with registry.switch_scope_and_registry(
            cfg.get('default_scope')
        ) as types:
            for where, part in _dicts_in(place, cfg.get(place)):
                fallback = default if where == place else None
                built = _find(types, part.get('type', fallback))
                if built is not None:
                    _check_arguments(f'{where}.', part, built)


def check_classes(runner: Runner) -> None:
    """Raises if the head has fewer classes than the training data.

    Args:
        runner: Its training data are built by this.

    Raises:
        ValueError: Names both numbers.
    """
    if runner.train_loop is None:
        return
    metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', {})
    needed = len(metainfo.get('classes') or ())
    head = getattr(unwrap(runner.model), 'head', None)
    given = getattr(head, 'num_classes', None)
    if isinstance(given, int) and given < needed:
        raise ValueError(
            f'model.head.num_classes={given}; the training data have '
            f'{needed} classes: must be at least {needed}'
        )


def _check_randomness(options: Any) -> None:
    valid = parameters(set_random_seed)
    check_mapping('randomness', options, f'options; valid are {list(valid)}')
    for name, value in options.items():
        if name not in valid:
            raise ValueError(
                f'randomness.{name}={value!r} is no option; valid are '
                f'{list(valid)}'
            )
    _check_arguments('randomness.', options, set_random_seed)


def _dicts_in(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every dict in a part of a config, and where it stands."""
    inner: Any = ()
    if isinstance(value, Mapping):
        yield place, value
        inner = value.items()
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    for key, each in inner:
        yield from _dicts_in(f'{place}.{key}', each)


def _find(types: Registry, kind: Any) -> Any:
    """What a type stands for; None if that is not known."""
    if not isinstance(kind, str):
        return kind if isclass(kind) else None
    try:
        return types.get(kind)
    except RuntimeError:  # there is none of that name
        return None


def _check_arguments(place: str, given: Mapping[str, Any], built: Any) -> None:
    for name, parameter in parameters(built).items():
        kinds = _kinds(parameter)
        value = given.get(name)
        if kinds and not _may_be(value, kinds):
            valid = ' or '.join(_WORDS.get(k, k.__name__) for k in kinds)
            raise ValueError(f'{place}{name}={value!r}; must be {valid}')


def _kinds(parameter: Parameter) -> list[type]:
    """Classes of an argument; none if it does not tell."""
    annotation = parameter.annotation
    is_union = get_origin(annotation) in (Union, UnionType)
    parts = get_args(annotation) if is_union else (annotation,)
    kinds = [get_origin(part) or part for part in parts]
    tells = all(isclass(k) and k not in (Any, Parameter.empty) for k in kinds)
    return kinds if tells else []


def _may_be(value: Any, kinds: list[type]) -> bool:
    if isinstance(value, str):
        return any(issubclass(str, kind) for kind in kinds)
    if isinstance(value, float) and not value.is_integer():
        return int not in kinds or float in kinds
    return True
