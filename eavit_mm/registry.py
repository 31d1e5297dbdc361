"""The registries of scope ``eavit_mm``, children of mmengine's.

mmengine imports ``<scope>.registry`` when it meets ``type='eavit_mm.X'`` and
then the ``locations``, so a config needs no import of ours.
"""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import TASK_UTILS as MMENGINE_TASK_UTILS
from mmengine.registry import Registry

SCOPE = 'eavit_mm'

MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope=SCOPE,
    locations=['eavit_mm.models'],
)
MODEL_WRAPPERS = Registry(
    'model_wrapper',
    parent=MMENGINE_MODEL_WRAPPERS,
    scope=SCOPE,
    locations=['eavit_mm.models'],
)
DATASETS = Registry(
    'dataset',
    parent=MMENGINE_DATASETS,
    scope=SCOPE,
    locations=['eavit_mm.datasets'],
)
HOOKS = Registry(
    'hook',
    parent=MMENGINE_HOOKS,
    scope=SCOPE,
    locations=['eavit_mm.engine.hooks'],
)
LOOPS = Registry(
    'loop',
    parent=MMENGINE_LOOPS,
    scope=SCOPE,
    locations=['eavit_mm.engine.loops'],
)
OPTIM_WRAPPERS = Registry(
    'optim_wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope=SCOPE,
    locations=['eavit_mm.engine.optim'],
)
# Samplers of subnets, criteria of importance, distillation.
TASK_UTILS = Registry(
    'task util',
    parent=MMENGINE_TASK_UTILS,
    scope=SCOPE,
    locations=[
        'eavit_mm.space.samplers',
        'eavit_mm.search.algorithms',
        'eavit_mm.search.survival',
        'eavit_mm.rearrange',
        'eavit_mm.models',
    ],
)


def build_part(name: str, cfg: Any, kind: type) -> Any:
    """Builds what an option of a config asks for.

    Args:
        name: The option, for messages.
        cfg: A dict with a ``type`` of :data:`TASK_UTILS`.
        kind: Class of what comes out.

    Raises:
        ValueError: If it is no such dict, the type or one of its options is
            not known, or it makes something else.
    """
    if not isinstance(cfg, Mapping) or 'type' not in cfg:
        raise ValueError(
            f"{name}={cfg!r}; must be a dict with a 'type', one of "
            f'{_names_of(kind)}'
        )
    try:
        part = TASK_UTILS.build(dict(cfg))
    except (KeyError, TypeError) as error:
        found = TASK_UTILS.get(cfg['type'])
        valid = list(signature(found).parameters) if found else _names_of(kind)
        raise ValueError(
            f'{name}={cfg!r}: {error.args[0]}; valid are {valid}'
        ) from error
    if not isinstance(part, kind):
        raise ValueError(
            f'{name}={cfg!r}; must be a {kind.__name__}, one of '
            f'{_names_of(kind)}'
        )
    return part


def _names_of(kind: type) -> list[str]:
    TASK_UTILS.import_from_location()
    return sorted(
        f'{SCOPE}.{name}'
        for name, found in TASK_UTILS.module_dict.items()
        if isinstance(found, type) and issubclass(found, kind)
    )
