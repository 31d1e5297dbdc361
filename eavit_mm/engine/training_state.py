"""What a checkpoint must hold so that a training can go on from it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor

from eavit_mm.engine.optimizer_state import check_optimizer
from eavit_mm.engine.pending_gradients import GRADIENTS
from eavit_mm.options import is_finite, is_int
from eavit_mm.weights.state_dict import CheckpointError

# What a training run writes, and mmengine reads without a look.
_PARTS: dict[str, dict[str, type]] = dict(
    message_hub=dict(log_scalars=dict, runtime_info=dict, resumed_keys=dict),
    optimizer=dict(state=dict, param_groups=list),
)


# Key of the message hub: names of checkpoints that the last one replaces.
EXPIRED = 'eavit_mm_expired_ckpts'


def _is_count(value: Any) -> bool:
    return is_int(value) and value >= 0


# Of what the message hub carries: what it must be, by the key's beginning.
_INFO: dict[str, tuple[str, Callable[[Any], bool]]] = dict(
    seed=('an integer of at least 0', _is_count),
    best_score=('a number', is_finite),
    last_ckpt=('a path', lambda value: isinstance(value, str)),
    keep_ckpt_ids=(
        'a list of steps',
        lambda value: isinstance(value, list) and all(map(_is_count, value)),
    ),
)
_INFO[EXPIRED] = (
    'a list of names',
    lambda value: (
        isinstance(value, list)
        and all(isinstance(name, str) for name in value)
    ),
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
        if not _is_count(value):
            raise CheckpointError(
                f"--resume: meta['{name}']={value!r}; must be an integer of "
                'at least 0'
            )
    seed = meta.get('seed', 0)
    if not _is_count(seed):
        raise CheckpointError(
            f"--resume: meta['seed']={seed!r}; must be an integer of at least "
            '0'
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
    _check_info(checkpoint['message_hub']['runtime_info'])
    for group in checkpoint['optimizer']['param_groups']:
        places = group.get('params') if isinstance(group, dict) else None
        if not isinstance(places, list) or not all(map(_is_count, places)):
            raise CheckpointError(
                f'--resume: optimizer: the group {group!r:.80} must be a '
                "dict with 'params', a list of places"
            )


def _check_info(info: Mapping[str, Any]) -> None:
    for key, value in info.items():
        for begin, (valid, fits) in _INFO.items():
            if str(key).startswith(begin) and not fits(value):
                raise CheckpointError(
                    f'--resume: message_hub: {key}={value!r:.80}; must be '
                    f'{valid}'
                )


def check_run(runner: Runner, checkpoint: Mapping[str, Any]) -> None:
    """Raises unless a run can go on from a checkpoint, as its config says.

    Args:
        runner: Before mmengine resumes it.
        checkpoint: That :func:`check_training_state` accepts.

    Raises:
        CheckpointError: Names what is missing or does not fit.
    """
    wrapper = runner.optim_wrapper
    if isinstance(wrapper, OptimWrapper):
        check_optimizer(wrapper, checkpoint['optimizer'])
        _check_pending(runner, wrapper, checkpoint)
    if isinstance(runner.param_schedulers, list):
        _check_schedulers(runner.param_schedulers, checkpoint)
    if any(isinstance(hook, EMAHook) for hook in runner.hooks):
        averages = checkpoint.get('ema_state_dict')
        if not isinstance(averages, dict):
            raise CheckpointError(
                f'--resume: ema_state_dict is {type(averages).__name__}; '
                "EMAHook needs the averages of the run's weights"
            )


def _check_pending(
    runner: Runner, wrapper: OptimWrapper, checkpoint: Mapping[str, Any]
) -> None:
    """Gradients must be there between two accumulated batches."""
    done, count = checkpoint['meta']['iter'], wrapper._accumulative_counts
    if done % count == 0 or done >= runner.max_iters:
        return
    found = checkpoint.get(GRADIENTS)
    pending = found if isinstance(found, list) else []
    if not pending or not all(
        isinstance(own, dict) and isinstance(own.get('gradients'), dict)
        for own in pending
    ):
        raise CheckpointError(
            f'--resume: iteration {done} is between two of '
            f'accumulative_counts={count}, but {GRADIENTS} is '
            f'{type(found).__name__}; must list the gradients of every '
            'process'
        )
    shapes = {n: p.shape for n, p in runner.model.named_parameters()}
    for own in pending:
        for name, value in own['gradients'].items():
            shape = value.shape if isinstance(value, Tensor) else None
            if shape is None or shapes.get(name) != shape:
                raise CheckpointError(
                    f'--resume: {GRADIENTS}: {name!r} of shape {shape} fits '
                    'no parameter of this network'
                )


def _check_schedulers(
    schedulers: Sequence[Any], checkpoint: Mapping[str, Any]
) -> None:
    given = checkpoint.get('param_schedulers')
    if not isinstance(given, list) or len(given) != len(schedulers):
        raise CheckpointError(
            f'--resume: param_schedulers={given!r:.80}; must be a list of '
            f'{len(schedulers)} states, as many as this config has'
        )
    for own, state in zip(schedulers, given, strict=True):
        for key, value in own.state_dict().items():
            found = state.get(key) if isinstance(state, dict) else None
            if is_finite(value) and not is_finite(found):
                raise CheckpointError(
                    f'--resume: param_schedulers: {key}={found!r:.80} of '
                    f'{type(own).__name__}; must be a number'
                )
