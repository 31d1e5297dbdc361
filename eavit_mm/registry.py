"""The registries of scope ``eavit_mm``, children of mmengine's.

mmengine imports ``<scope>.registry`` when it meets ``type='eavit_mm.X'`` and
then the ``locations``, so a config needs no import of ours.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry
from mmengine.utils import get_object_from_string

SCOPE = 'eavit_mm'
_REGISTRIES: list[Registry] = []


class _Models(Registry):
    """Imports the segmentor only when a name is not found without it.

    mmseg, which it stands on, would make every start slower.
    """

    def get(self, key: str) -> Any:
        found = super().get(key)
        if found is None:
            import_module(f'{SCOPE}.models.elastic_segmentor')
            found = super().get(key)
        return found


def _child(
    name: str, *locations: str, kind: type[Registry] = Registry
) -> Registry:
    parent = getattr(mmengine_registry, name)
    places = [f'{SCOPE}.{location}' for location in locations]
    child = kind(parent.name, parent=parent, scope=SCOPE, locations=places)
    _REGISTRIES.append(child)
    return child


MODELS = _child('MODELS', 'models', kind=_Models)
MODEL_WRAPPERS = _child('MODEL_WRAPPERS', 'models')
DATASETS = _child('DATASETS', 'datasets')
TRANSFORMS = _child('TRANSFORMS', 'datasets')
HOOKS = _child('HOOKS', 'engine.hooks')
LOOPS = _child('LOOPS', 'engine.loops')
METRICS = _child('METRICS', 'engine.metrics')
OPTIM_WRAPPERS = _child('OPTIM_WRAPPERS', 'engine.optim')
# Samplers of subnets, algorithms of a search, criteria of importance,
# distillation.
TASK_UTILS = _child(
    'TASK_UTILS',
    'space.samplers',
    'search.algorithms',
    'search.survival',
    'rearrange',
    'snap',
    'models',
)
# What runs a subnet for its latency, by the names of ``--backend``: functions
# (model, subnet, images) -> what surrounds a call and is not timed, the call.
LATENCY_BACKENDS = Registry(
    'latency backend',
    scope=SCOPE,
    locations=[f'{SCOPE}.analysis.latency', f'{SCOPE}.export.backends'],
)
# What mmengine takes out of a dict before it calls the class of its type.
_OF_MMENGINE = {'type', '_scope_', 'priority', 'constructor', 'paramwise_cfg'}


def check_options(place: str, value: Any) -> None:
    """Raises if a config names an unknown class of ours or option of one.

    Other classes are left to whoever builds them.

    Args:
        place: Where in the config the value stands, such as 'model.backbone'.
        value: A part of a config; looked through to its innermost dicts.

    Raises:
        ValueError: Names the place, the option and what would be valid.
    """
    for fault in wrong_options(place, value):
        raise ValueError(fault)


def wrong_options(place: str, value: Any) -> Iterator[str]:
    """All that :func:`check_options` would raise for, one after the other."""
    is_dict = isinstance(value, Mapping)
    if is_dict and str(value.get('type')).startswith(f'{SCOPE}.'):
        yield from _wrong_in_part(place, value)
    if is_dict or isinstance(value, list | tuple):
        for key, part in value.items() if is_dict else enumerate(value):
            yield from wrong_options(
                f'{place}.{key}' if place else str(key), part
            )


def _wrong_in_part(place: str, cfg: Mapping[str, Any]) -> Iterator[str]:
    """Checks the type and the options of one dict, by the signatures."""
    name = cfg['type']
    # A path to a class is valid too.
    found = _ours().get(name) or get_object_from_string(name)
    found = found or MODELS.get(name)
    if found is None:
        ours = _ours()
        bare = {known.rpartition('.')[2]: known for known in ours}
        close = get_close_matches(name.rpartition('.')[2], bare)
        known = [bare[match] for match in close] or sorted(ours)
        yield f'{place}.type={name!r} is not known; valid are {known}'
        return
    valid = _options_of(found)
    for key in cfg:
        if key not in {*valid, *_OF_MMENGINE}:
            yield (
                f'{place}.{key}={cfg[key]!r:.80} is no option of '
                f'{found.__name__}; valid are {valid}'
            )


def _ours() -> dict[str, Any]:
    """Everything that is registered, by the type that names it."""
    ours: dict[str, Any] = {}
    for registry in _REGISTRIES:
        registry.import_from_location()
        for name, part in registry.module_dict.items():
            ours[f'{SCOPE}.{name}'] = part
    return ours


def _options_of(found: Any) -> list[str]:
    """Names of the arguments; those in **kwargs go to the next base class."""
    names: list[str] = []
    for base in getattr(found, '__mro__', [found]):
        if isinstance(base, type) and '__init__' not in vars(base):
            continue
        make = vars(base)['__init__'] if isinstance(base, type) else base
        arguments = signature(make).parameters
        kinds = {name: argument.kind for name, argument in arguments.items()}
        by_name = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        names += [name for name, kind in kinds.items() if kind in by_name]
        if Parameter.VAR_KEYWORD not in kinds.values():
            break
    return [name for name in dict.fromkeys(names) if name != 'self']


def build_part(
    name: str,
    cfg: Any,
    kind: type,
    registry: Registry = TASK_UTILS,
    **given: Any,
) -> Any:
    """Builds what an option of a config asks for.

    Args:
        name: The option, for messages.
        cfg: A dict with a ``type`` of the registry.
        kind: Class of what comes out.
        registry: Where the type is looked up.
        **given: Further arguments, which no config can have.

    Raises:
        ValueError: If it is no such dict, the type or one of its options is
            not known, or it makes something else.
    """
    registry.import_from_location()
    valid = sorted(
        f'{SCOPE}.{name}'
        for name, found in registry.module_dict.items()
        if isinstance(found, type) and issubclass(found, kind)
    )
    text, one_of = f'{name}={cfg!r:.80}', f'{kind.__name__}, one of {valid}'
    if not isinstance(cfg, Mapping) or not cfg.get('type'):
        raise ValueError(f"{text}; must be a dict with a 'type': a {one_of}")
    try:
        part = registry.build(dict(cfg, **given))
    except (KeyError, TypeError) as error:
        found = registry.get(cfg['type'])
        if found is None:
            raise ValueError(
                f'{name}.type={cfg["type"]!r} is not known; valid are {valid}'
            ) from error
        check_options(name, cfg)
        advice = f'must be a {one_of}'
        if isinstance(found, type) and issubclass(found, kind):
            options = [o for o in _options_of(found) if o not in given]
            advice = f'its options are {options}'
        raise ValueError(f'{text}: {error.args[0]}; {advice}') from error
    if not isinstance(part, kind):
        raise ValueError(f'{text}; must be a {one_of}')
    return part
