"""What a checkpoint must hold so that a training can go on from it."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

from mmengine.optim import OptimWrapper
from torch import Tensor

from eavit_mm.models.state_dict import CheckpointError, is_plain
from eavit_mm.options import is_int

# What a training run writes, and mmengine reads without a look.
_PARTS: dict[str, dict[str, type]] = dict(
    message_hub=dict(log_scalars=dict, runtime_info=dict, resumed_keys=dict),
    optimizer=dict(state=dict, param_groups=list),
)


def check_training_state(checkpoint: Mapping[str, Any]) -> None:
    """Raises unless mmengine can resume from a checkpoint.

    Raises:
        CheckpointError: Says what is missing or of another type, or that
            there is code, which mmengine would run.
    """
    meta = checkpoint.get('meta') or {}
    if 'iter' not in meta:
        raise CheckpointError(
            '--resume: this is not of a training run; to start from its '
            'weights: --cfg-options load_from=FILE'
        )
    for name in ('epoch', 'iter'):
        value: Any = meta.get(name)
        if not is_int(value) or value < 0:
            raise CheckpointError(
                f"--resume: meta['{name}']={value!r}; must be an integer of "
                'at least 0'
            )
    if 'config' in meta:
        # As code: mmengine gives it to Config.fromstring.
        raise CheckpointError(
            "--resume: meta['config'] is refused: mmengine runs it as code, "
            'and writes none itself'
        )
    for name, parts in _PARTS.items():
        state = checkpoint.get(name)
        found = state if isinstance(state, dict) else {}
        wrong = [
            key
            for key, kind in parts.items()
            if not isinstance(found.get(key), kind)
        ]
        if wrong:
            valid = ', '.join(f'{k}: {v.__name__}' for k, v in parts.items())
            raise CheckpointError(
                f'--resume: {name} is {type(state).__name__}, in it {wrong} '
                f'missing or of another type; must be a dict of {valid}'
            )
    for group in checkpoint['optimizer']['param_groups']:
        if not isinstance(group, dict) or 'params' not in group:
            raise CheckpointError(
                f'--resume: optimizer: the group {group!r:.80} must be a '
                "dict with 'params'"
            )


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
    own = [group['params'] for group in optim_wrapper.param_groups]
    given = [group['params'] for group in state['param_groups']]
    if list(map(len, own)) != list(map(len, given)):
        raise CheckpointError(
            f'--resume: the optimizer has groups of {list(map(len, given))} '
            f'parameters, in this config of {list(map(len, own))}'
        )
    places = zip(chain(*own), chain(*given), strict=True)
    for parameter, index in places:
        for name, value in state['state'].get(index, {}).items():
            if isinstance(value, Tensor):
                _check_moment(name, value, parameter)


def _check_moment(name: str, value: Tensor, parameter: Tensor) -> None:
    fits = value.numel() == 1 or value.shape == parameter.shape
    if not (fits and is_plain(value) and value.isfinite().all()):
        raise CheckpointError(
            f"--resume: the optimizer's {name} of shape "
            f'{tuple(value.shape)} must be {tuple(parameter.shape)} and '
            'finite: the checkpoint is damaged or of another network. To '
            'start from its weights alone: --cfg-options load_from=FILE'
        )
