"""Reading and writing supernet checkpoints outside of a training run."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import CheckpointLoader

from eavit_mm.files import write_atomically
from eavit_mm.models import ElasticModelMixin


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
    check_space(model, checkpoint)
    model.load_state_dict(checkpoint.get('state_dict', checkpoint))
    return checkpoint.get('meta') or {}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint file; no code in it is run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is broken or no checkpoint.
    """
    try:
        checkpoint = CheckpointLoader.load_checkpoint(
            str(path), map_location='cpu'
        )
    except FileNotFoundError:
        raise
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(
            f'{path} is broken or no checkpoint: {error}'
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'{path} is no checkpoint: it holds {type(checkpoint).__name__}'
        )
    return checkpoint


def meta_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's ``meta['eavit_mm']``; empty if it has none."""
    meta = checkpoint.get('meta') or {}
    return meta.get('eavit_mm') or {}


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
        ValueError: Names the keys of the space that differ.
    """
    trained = meta_of(checkpoint).get('space')
    own = model.backbone.space.to_config()
    if trained is None or trained == own:
        return
    differ = sorted(k for k in own if trained.get(k) != own[k])
    raise ValueError(
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
