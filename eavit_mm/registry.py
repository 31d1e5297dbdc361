"""The registries of scope ``eavit_mm``, children of mmengine's.

mmengine imports ``<scope>.registry`` when it meets ``type='eavit_mm.X'`` and
then the ``locations``, so a config needs no import of ours.
"""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry

SCOPE = 'eavit_mm'


def _child(name: str, *locations: str) -> Registry:
    parent = getattr(mmengine_registry, name)
    places = [f'{SCOPE}.{location}' for location in locations]
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=places)


MODELS = _child('MODELS', 'models')
MODEL_WRAPPERS = _child('MODEL_WRAPPERS', 'models')
DATASETS = _child('DATASETS', 'datasets')
HOOKS = _child('HOOKS', 'engine.hooks')
LOOPS = _child('LOOPS', 'engine.loops')
OPTIM_WRAPPERS = _child('OPTIM_WRAPPERS', 'engine.optim')
# Samplers of subnets, algorithms of a search, criteria of importance,
# distillation.
TASK_UTILS = _child(
    'TASK_UTILS',
    'space.samplers',
    'search.algorithms',
    'search.survival',
    'rearrange',
    'models',
)


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
        **given: Arguments that no config can have.

    Raises:
        ValueError: If it is no such dict, the type or one of its options is
            not known, or it makes something else.
    """
    if not isinstance(cfg, Mapping) or 'type' not in cfg:
        raise ValueError(
            f"{name}={cfg!r}; must be a dict with a 'type', one of "
            f'{_names_of(kind, registry)}'
        )
    try:
        part = registry.build(dict(cfg, **given))
    except (KeyError, TypeError) as error:
        found = registry.get(cfg['type'])
        valid = (
            [key for key in signature(found).parameters if key not in given]
            if found
            else _names_of(kind, registry)
        )
        raise ValueError(
            f'{name}={cfg!r}: {error.args[0]}; valid are {valid}'
        ) from error
    if not isinstance(part, kind):
        raise ValueError(
            f'{name}={cfg!r}; must be a {kind.__name__}, one of '
            f'{_names_of(kind, registry)}'
        )
    return part


def _names_of(kind: type, registry: Registry) -> list[str]:
    registry.import_from_location()
    return sorted(
        f'{SCOPE}.{name}'
        for name, found in registry.module_dict.items()
        if isinstance(found, type) and issubclass(found, kind)
    )
