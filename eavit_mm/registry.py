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
    registry.import_from_location()
    kinds = {
        f'{SCOPE}.{name}': found
        for name, found in registry.module_dict.items()
        if isinstance(found, type) and issubclass(found, kind)
    }
    text, valid = f'{name}={cfg!r}', sorted(kinds)
    if not isinstance(cfg, Mapping) or 'type' not in cfg:
        raise ValueError(
            f"{text}; must be a dict with a 'type', one of {valid}"
        )
    try:
        part = registry.build(dict(cfg, **given))
    except (KeyError, TypeError) as error:
        found = registry.get(cfg['type'])
        if found in kinds.values():
            options = signature(found).parameters
            valid = [key for key in options if key not in given]
        raise ValueError(
            f'{text}: {error.args[0]}; valid are {valid}'
        ) from error
    if not isinstance(part, kind):
        raise ValueError(f'{text}; must be a {kind.__name__}, one of {valid}')
    return part
