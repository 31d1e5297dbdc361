"""Whether an optimizer can go on from the state in a checkpoint."""

from collections.abc import Mapping
from itertools import chain
from typing import Any, NoReturn

from mmengine.optim import OptimWrapper
from torch import Tensor

from eavit_mm.options import is_finite
from eavit_mm.weights.state_dict import CheckpointError, is_plain


def check_optimizer(
    optim_wrapper: OptimWrapper, state: Mapping[str, Any]
) -> None:
    """Raises if an optimizer's state is not one of its parameters.

    torch looks at the shapes in the next step, and at NaN never.

    Args:
        optim_wrapper: Of the training that goes on.
        state: ``checkpoint['optimizer']``.

    Raises:
        CheckpointError: Names the value, its shape and the parameter's.
    """
    # Not the wrapper's groups: it adds one for what the log calls base_lr.
    groups = optim_wrapper.optimizer.param_groups
    own = [group['params'] for group in groups]
    given = [group['params'] for group in state['param_groups']]
    if list(map(len, own)) != list(map(len, given)):
        raise CheckpointError(
            f'--resume: the optimizer has groups of {list(map(len, given))} '
            f'parameters, in this config of {list(map(len, own))}'
        )
    for ours, theirs in zip(groups, state['param_groups'], strict=True):
        _check_options(ours, theirs)
    moments: dict[str, bool] = {}
    places = zip(chain(*own), chain(*given), strict=True)
    for parameter, index in places:
        values = state['state'].get(index, {})
        if not isinstance(values, dict) or (
            moments and values and moments.keys() != values.keys()
        ):
            raise CheckpointError(
                f'--resume: the optimizer has {values!r:.80} of parameter '
                f'{index}; must be a dict of {sorted(moments)}'
            )
        for name, value in values.items():
            is_moment = _is_moment(name, value, parameter)
            if moments.setdefault(name, is_moment) != is_moment:
                _refuse_moment(name, value, parameter)


def _check_options(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Learning rate, betas and the like must be numbers where ours are."""
    for key, value in ours.items():
        found = theirs.get(key)
        if not _is_like(found, value):
            raise CheckpointError(
                f'--resume: the optimizer has {key}={found!r:.80}; must be '
                f'as in this config, {value!r:.80}'
            )


def _is_like(found: Any, value: Any) -> bool:
    """Whether one is numbers where the other is."""
    if isinstance(value, tuple):
        return (
            isinstance(found, tuple | list)
            and len(found) == len(value)
            and all(map(_is_like, found, value))
        )
    return is_finite(found) or not is_finite(value)


def _is_moment(name: str, value: Any, parameter: Tensor) -> bool:
    """Whether a state has the parameter's shape; else it is one number."""
    if isinstance(value, Tensor):
        sound = is_plain(value) and bool(value.isfinite().all())
        if sound and value.shape == parameter.shape:
            return parameter.ndim > 0
        if sound and value.ndim == 0:
            return False
    elif value is None or is_finite(value):
        return False
    return _refuse_moment(name, value, parameter)


def _refuse_moment(name: str, value: Any, parameter: Tensor) -> NoReturn:
    kind = type(value).__name__
    shape = tuple(value.shape) if isinstance(value, Tensor) else kind
    raise CheckpointError(
        f"--resume: the optimizer's {name} of shape {shape} must be "
        f'{tuple(parameter.shape)} and finite: the checkpoint is damaged or '
        'of another network. To start from its weights alone: --cfg-options '
        'load_from=FILE'
    )
