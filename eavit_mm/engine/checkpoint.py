"""Reading and writing supernet checkpoints outside of a training run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from eavit_mm.files import write_atomically
from eavit_mm.models import ElasticModelMixin
from eavit_mm.weights.read import read_torch_file
from eavit_mm.weights.state_dict import CheckpointError


def supernet_meta(
    model: ElasticModelMixin, rearrangement: str | None, stage: int
) -> dict[str, Any]:
    """``meta['eavit_mm']`` of a checkpoint: plain values.

    Args:
        model: The supernet.
        rearrangement: Name of the criterion; None if it is in stock order.
        stage: 0 rearranged only, 1 or 2 trained.
    """
    return dict(
        space=model.backbone.space.to_config(),
        rearrangement=rearrangement,
        stage=stage,
    )


def load_supernet(
    model: ElasticModelMixin, path: str | Path
) -> dict[str, Any]:
    """Loads a checkpoint into a supernet, strictly.

    Args:
        model: The supernet.
        path: A file; mmengine's checkpoint or a plain state dict.

    Returns:
        Its ``meta``; empty if it has none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, does not fit the model, or was
            trained for another space.
    """
    checkpoint = read_checkpoint(path)
    with naming(path):
        check_space(model, checkpoint)
        model.load_state_dict(checkpoint.get('state_dict', checkpoint))
    return checkpoint.get('meta') or {}


@contextmanager
def naming(path: str | Path | None) -> Iterator[None]:
    """Puts a file's name in front of what is wrong with its content.

    Raises:
        ValueError: In place of a :class:`CheckpointError`.
    """
    try:
        yield
    except CheckpointError as error:
        raise ValueError(f'{path}: {error}') from error


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
        _check_names(checkpoint.get('state_dict', checkpoint))
    return checkpoint


def _check_names(state: Any) -> None:
    if not isinstance(state, dict):
        raise CheckpointError(
            f'state_dict is {type(state).__name__}; must be a dict of weights'
        )
    odd = [name for name in state if not isinstance(name, str)]
    if odd:
        raise CheckpointError(
            f'state_dict: {odd[0]!r} is no name of a weight; must be a text'
        )


def meta_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's ``meta['eavit_mm']``; empty if it has none.

    Raises:
        CheckpointError: If what stands there is of another type.
    """
    meta = _dict_in(checkpoint, 'meta', 'meta')
    ours = _dict_in(meta, 'eavit_mm', "meta['eavit_mm']")
    _dict_in(ours, 'space', "meta['eavit_mm']['space']")
    done = ours.get('rearrangement')
    if not isinstance(done, str | None):
        raise CheckpointError(
            f"meta['eavit_mm']['rearrangement']={done!r}; must be the name "
            'of a criterion or None'
        )
    return ours


def _dict_in(values: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
    """The dict under a key; empty if there is none, or None."""
    value = values.get(key)
    if not isinstance(value, dict | None):
        raise CheckpointError(
            f'{name} is {type(value).__name__}; must be a dict'
        )
    return value or {}


def init_cfg_meta(model: ElasticModelMixin) -> dict[str, Any]:
    """``meta['eavit_mm']`` of the file that ``init_cfg`` loads, if any.

    mmengine hands over only the weights of such a file.
    """
    for module in (model, model.backbone):
        cfg = module.init_cfg
        path = str(cfg.get('checkpoint', '')) if isinstance(cfg, dict) else ''
        if path.endswith('.pth') and '://' not in path:
            return meta_of(read_checkpoint(path))
    return {}


def check_space(
    model: ElasticModelMixin, checkpoint: Mapping[str, Any]
) -> None:
    """Raises if a checkpoint was trained for another space.

    Raises:
        CheckpointError: Names the keys of the space that differ.
    """
    trained = meta_of(checkpoint).get('space')
    own = model.backbone.space.to_config()
    if trained is None or trained == own:
        return
    differ = sorted(k for k in own if trained.get(k) != own[k])
    raise CheckpointError(
        f'this checkpoint was trained for another space; different are '
        f'{differ}: {[trained.get(k) for k in differ]} there, '
        f'{[own[k] for k in differ]} in this config. To train on all the '
        'same: default_hooks.supernet_meta.check_space=False'
    )


def save_atomically(value: Any, path: str | Path) -> None:
    """``torch.save`` to a file that is written whole or not at all."""
    buffer = BytesIO()
    torch.save(value, buffer)
    write_atomically(buffer.getvalue(), path)


def require_other_file(source: str | Path, out: str | Path) -> None:
    """Raises if a command would write over the file that it reads.

    Raises:
        ValueError: Names the file.
    """
    if Path(source).resolve() == Path(out).resolve():
        raise ValueError(
            f'{out} is the file to read and to write; give the result '
            'another name'
        )
