"""What mmengine says of a wrong config, in words that help.

mmengine builds the parts of a run from dicts and lets Python's own errors
through: they name neither the dict nor what would be valid.
"""

import inspect
import re
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import chain
from types import FrameType
from typing import Any

from mmengine.registry import Registry, build_functions
from mmengine.runner import runner as mmengine_runner

from eavit_mm.registry import SCOPE

_SHOWN = 200
_NO_CONFIG = ('cfg should be a dict', '`cfg` or `default_args` must')
_UNKNOWN_TYPE = re.compile(r'(\S+) is not in the \S+::.+ registry')
_UNKNOWN_ARGUMENT = re.compile(r"unexpected keyword argument '(\w+)'")


def explain(error: BaseException) -> str | None:
    """One line on an error that came up while a part was built.

    Or while the best checkpoint was looked for by a metric that is not there.

    Args:
        error: With its traceback.

    Returns:
        None if it is an error of another kind, or says enough by itself.
    """
    if isinstance(error, ValueError | OSError | FloatingPointError):
        return None
    if isinstance(error, KeyError) and (text := _unknown_metric(error)):
        return text
    frames = list(_building(error))
    if not frames:
        return None
    text = str(error.args[0]) if error.args else type(error).__name__
    cfg, values = _first_argument(frames[-1]), frames[-1].f_locals
    found = _UNKNOWN_TYPE.search(text)
    if found:
        known = _known(values['registry'], found[1])
        return f'type={found[1]!r} is not known; known are {known}'
    found = _UNKNOWN_ARGUMENT.search(text)
    if found and 'obj_cls' in values:
        given = f'{found[1]}={_shorten(cfg.get(found[1]))}'
        built = values['obj_cls']
        return (
            f'{given} is no option of {built.__name__}; valid are '
            f'{list(parameters(built))}'
        )
    if text.startswith(_NO_CONFIG):
        return f"{_shorten(cfg)}: must be a dict with a 'type'"
    return f'{_shorten(cfg)}: {text}'


def _unknown_metric(error: KeyError) -> str | None:
    """What to write for a ``save_best`` that no evaluation reports."""
    for frame in list(_frames(error))[-1:]:
        metrics = frame.f_locals.get('metrics')
        if frame.f_code.co_name == '_save_best_checkpoint' and metrics:
            return (
                f'save_best={error.args[0]!r}; the evaluation reports '
                f'{list(metrics)}'
            )
    return None


def _building(error: BaseException) -> Iterator[FrameType]:
    """Frames of mmengine's functions that build parts, innermost last."""
    files = (build_functions.__file__, mmengine_runner.__file__)
    for frame in _frames(error):
        code = frame.f_code
        if code.co_filename in files and code.co_name.startswith('build_'):
            yield frame


def _frames(error: BaseException) -> Iterator[FrameType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _first_argument(frame: FrameType) -> Any:
    names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
    return frame.f_locals[next(name for name in names if name != 'self')]


def _shorten(cfg: Any) -> str:
    text = repr(dict(cfg) if isinstance(cfg, dict) else cfg)
    return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'


def _known(registry: Registry, name: str) -> list[str]:
    """Our own types, and those of any scope with a like name; or all."""
    root = registry.root if registry.parent else registry
    last: dict[str, list[str]] = {}
    for scope, child in [('', root), *root.children.items()]:
        child.import_from_location()
        for kind in child.module_dict:
            full = f'{scope}.{kind}' if scope else kind
            last.setdefault(kind, []).append(full)
    every = list(chain(*last.values()))
    ours = [full for full in every if full.startswith(f'{SCOPE}.')]
    short = name.rsplit('.')[-1]
    like = get_close_matches(short, last, 4)
    like += [kind for kind in last if short.lower() in kind.lower()]
    found = {*ours, *chain(*(last[kind] for kind in like))}
    return sorted(found or every)


def parameters(built: Any) -> dict[str, inspect.Parameter]:
    """Arguments of a function, or of a class and its parents, by name."""
    makers = [built]
    if inspect.isclass(built):
        makers = [vars(c).get('__init__') for c in built.__mro__[:-1]]
    kinds = (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    found: dict[str, inspect.Parameter] = {}
    for maker in filter(None, makers):
        for name, parameter in inspect.signature(maker).parameters.items():
            if parameter.kind in kinds and name != 'self':
                found.setdefault(name, parameter)
    return found
