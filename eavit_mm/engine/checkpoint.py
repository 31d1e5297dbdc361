"""Reading and writing supernet checkpoints outside of a training run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from eavit_mm.files import write_atomically
from eavit_mm.models import ElasticModelMixin
from eavit_mm.options import check_count, difference_of
from eavit_mm.weights.read import METAS, read_torch_file
from eavit_mm.weights.state_dict import CheckpointError

# Where mmengine writes which checkpoint of a work directory is the newest.
LAST = 'last_checkpoint'
# What a user can put right; the words of the others name neither file nor
# option.
USER_ERRORS = (ValueError, OSError, FloatingPointError)


def supernet_meta(
    model: ElasticModelMixin, rearrangement: str | None, stage: int
) -> dict[str, Any]:
    """``meta['eavit_mm']`` of a checkpoint: plain values.

    Args:
        model: The supernet.
        rearrangement: Name of the criterion; None in stock order.
        stage: 0 rearranged only, 1 or 2 trained.
    """
    space = model.backbone.space.to_config()
    return dict(space=space, rearrangement=rearrangement, stage=stage)


def load_supernet(
    model: ElasticModelMixin, path: str | Path, of_any_space: bool = False
) -> dict[str, Any]:
    """Loads a checkpoint, or a plain state dict, into a supernet, strictly.

    ``of_any_space`` is for who needs the whole network alone.

    Returns:
        Its ``meta``; empty if it has none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, does not fit the model, or was
            trained for another space.
    """
    checkpoint = read_checkpoint(path)
    with naming(path):
        if not of_any_space:
            check_space(model, meta_of(checkpoint))
        # What else does not fit the model itself refuses.
        state = checkpoint.get('state_dict', checkpoint)
        model.load_state_dict(state, strict=not model.new_head)
    return checkpoint.get('meta') or {}


def last_checkpoint(work_dir: str | Path) -> str | None:
    """The newest checkpoint of a work directory; None if there is none.

    An absolute name, as mmengine writes it, may be of the place that the
    directory was moved or copied from: its own checkpoint comes first.
    """
    file = Path(work_dir, LAST)
    if not file.exists():
        return None
    name = file.read_text(errors='replace').strip()
    own = Path(work_dir, Path(name).name)
    return str(own if own.is_file() else Path(work_dir, name))


@contextmanager
def naming(place: str | Path | None) -> Iterator[None]:
    """Puts a file or a part of a config in front of what is wrong with it.

    Raises:
        ValueError: In place of whatever came up in the block.
    """
    try:
        yield
    except Exception as error:
        text = one_line(error).removeprefix(f'{place}: ')  # said already
        raise ValueError(f'{place}: {text}') from error


def one_line(error: BaseException) -> str:
    """What an error says, and its type where the words alone would not do."""
    said = str(error.args[0]) if len(error.args) == 1 else str(error)
    if ' in DataLoader worker process ' in said:  # a whole traceback
        said = said.rstrip().rpartition('\n')[2].partition(': ')[2]
    if isinstance(error, OSError) and error.filename and error.strerror:
        said = f'{error.filename}: {error.strerror}'  # without its number
    text = ' '.join(said.split())
    if isinstance(error, USER_ERRORS) and text:
        return text
    return f'{type(error).__name__}: {text}'


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint file; no code in it is run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is broken or no checkpoint.
    """
    checkpoint = read_torch_file(path)
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'{path} is no checkpoint: it holds {type(checkpoint).__name__}'
        )
    with naming(path):
        meta_of(checkpoint)
        state = _dict_in(
            {'state_dict': checkpoint, **checkpoint}, 'state_dict'
        )
        for name in state:
            if not isinstance(name, str):
                raise CheckpointError(
                    f'state_dict: {name!r} is no name of a weight; must be a '
                    'text'
                )
    return checkpoint


def meta_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's ``meta['eavit_mm']``; empty if it has none.

    Raises:
        CheckpointError: If what stands there is of another type.
    """
    ours = _dict_in(checkpoint, 'meta', 'eavit_mm')
    _dict_in(ours, 'space', place="meta['eavit_mm']")
    done = ours.get('rearrangement')
    if not isinstance(done, str | None):
        raise CheckpointError(
            f"meta['eavit_mm']['rearrangement']={done!r}; must be the name "
            'of a criterion or None'
        )
    return ours


def _dict_in(values: Any, *keys: str, place: str = '') -> dict[str, Any]:
    """The dict under keys; empty if there is none, or None."""
    for key in keys:
        values = values.get(key)
        place = f'{place}[{key!r}]' if place else key
        if not isinstance(values, dict | None):
            raise CheckpointError(
                f'{place} is {type(values).__name__}; must be a dict'
            )
        values = values or {}
    return dict(values)


def check_resumable(checkpoint: Mapping[str, Any], schedules: Any) -> None:
    """Raises unless mmengine can resume a training from a checkpoint.

    Args:
        checkpoint: What the file holds.
        schedules: ``param_scheduler`` of the config that goes on.

    Raises:
        ValueError: If something is missing that mmengine would leave out in
            silence, or there is code, which it would run.
    """
    meta = checkpoint.get('meta') or {}
    needed = dict(epoch=meta, iter=meta, optimizer=checkpoint)
    needed['message_hub'] = checkpoint
    missing = [key for key, place in needed.items() if key not in place]
    if missing:
        raise CheckpointError(
            f'--resume: this is not of a training run, {missing} missing; to '
            'start from its weights: --cfg-options load_from=FILE'
        )
    if 'config' in meta:
        # As code: mmengine gives it to Config.fromstring.
        raise CheckpointError(
            "--resume: meta['config'] is refused: mmengine runs it as code, "
            'and writes none itself'
        )
    for key in ('epoch', 'iter'):
        check_count(f"--resume: meta['{key}']", meta[key])
    # Of several optimizers they stand under their names.
    if not isinstance(schedules, Mapping) or 'type' in schedules:
        saved = len(checkpoint.get('param_schedulers') or ())
        is_one = isinstance(schedules, Mapping)
        asked = 1 if is_one else len(schedules or ())
        if saved != asked:  # mmengine would start them anew
            raise CheckpointError(
                f'--resume: param_schedulers holds the state of {saved} '
                f"schedules; the config's param_scheduler has {asked}"
            )
    optimizer = checkpoint['optimizer']
    groups = optimizer.get('param_groups', ())
    # SGD without momentum remembers nothing.
    remembers = any(g.get('betas') or g.get('momentum') for g in groups)
    if remembers and not optimizer.get('state') and meta['iter']:
        raise CheckpointError(
            f"--resume: optimizer['state'] is empty after {meta['iter']} "
            'iterations; must hold the state of every parameter'
        )


def check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raises ``CheckpointError`` if an optimizer remembers other shapes."""
    for parameter, state in optimizer.state.items():
        own = tuple(parameter.shape)
        for name in ('exp_avg', 'exp_avg_sq', 'momentum_buffer'):
            found = tuple(getattr(state.get(name), 'shape', own))
            if found != own:
                raise CheckpointError(
                    f"--resume: optimizer['state'] has {name} of {found} for "
                    f'a parameter of {own}; it is of another network'
                )


def init_cfg_meta(model: ElasticModelMixin) -> dict[str, Any]:
    """``meta['eavit_mm']`` of the file that ``init_cfg`` loaded, if any.

    mmengine hands over only the weights of such a file.
    """
    for module in (model, model.backbone):
        cfg = module.init_cfg
        path = str(cfg.get('checkpoint')) if isinstance(cfg, dict) else ''
        if path in METAS:
            with naming(path):
                return meta_of(dict(meta=METAS[path]))
    return {}


def check_space(model: ElasticModelMixin, meta: Mapping[str, Any]) -> None:
    """Raises ``CheckpointError`` if weights are of another space.

    ``meta`` is the checkpoint's, from :func:`meta_of`.
    """
    trained = meta.get('space')
    if trained is None:
        return
    difference = difference_of(trained, model.backbone.space.to_config())
    if difference:
        raise CheckpointError(
            f'this checkpoint was trained for another space: {difference}. '
            'A training takes it all the same by '
            'default_hooks.supernet_meta.check_space=False'
        )


def save_atomically(value: Any, path: str | Path) -> None:
    """``torch.save``, whole or not at all."""
    buffer = BytesIO()
    torch.save(value, buffer)
    write_atomically(buffer.getvalue(), path)


def require_other_file(source: str | Path, out: str | Path) -> None:
    """Raises ``ValueError`` if a command would write over what it reads.

    Or if a folder is in the place of the result, which is told before work.
    """
    if Path(out).is_dir():
        raise ValueError(f'{out} is a folder; name the file to write in it')
    if Path(source).resolve() == Path(out).resolve():
        raise ValueError(
            f'{out} is the file to read and to write; give the result '
            'another name'
        )
