"""Files of weights: which format, read without running anything in them."""

import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import torch
from mmengine.logging import print_log
from safetensors.torch import load_file
from torch import Tensor

# Under these keys training scripts keep the network: mmengine's and timm's,
# DeiT's and MAE's, DINO's. The first one that is there counts.
_WRAPPERS = ('state_dict', 'model', 'teacher')
# Read by no torch.load.
OTHER_FORMATS = ('.safetensors', '.npz')
_FORBIDDEN = re.compile(r'nsupported.*GLOBAL ([\w.]+)')


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads the weights of a network, in the names of the file.

    The ending says the format: ``.safetensors``, ``.npz`` (the JAX originals;
    arrays only, no objects), anything else is torch's (``.pth``, ``.bin``,
    ``.pt``), read with ``weights_only=True``. Of a training checkpoint the
    network is taken ('state_dict', 'model', or DINO's 'teacher'), and from
    its names ``module.`` and, of DINO's, ``backbone.``.

    Args:
        path: A local file.

    Returns:
        Names to tensors on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated, not of this format, holds no weights,
            or holds objects that could run code.
    """
    path = _existing(path)
    read = _READERS.get(path.suffix.lower(), read_torch_file)
    content = read(path)
    return _strip(_unwrap(content, path))


def _existing(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if path.is_dir():
        raise FileNotFoundError(f'{path} is a folder; name the file in it')
    if not path.is_file():
        raise FileNotFoundError(f'{path} is not there')
    return path


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        return load_file(path, device='cpu')
    # The library raises its own error and a few of Python's.
    except Exception as error:
        raise _broken(path, 'safetensors file', error) from error


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}
    # Of zipfile, zlib, struct, numpy and, for a lone array, Python.
    except Exception as error:
        raise _broken(path, '.npz file of arrays', error) from error


def read_torch_file(path: str | Path) -> Any:
    """What ``torch.save`` wrote: tensors and plain values, no code is run.

    Args:
        path: A local file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds objects that could run code.
    """
    path = _existing(path)
    try:
        _compare_sums(path)
        # Training scripts keep their options; a Namespace is only values.
        with torch.serialization.safe_globals([Namespace]):
            return torch.load(path, map_location='cpu', weights_only=True)
    # Damaged pickles raise whatever their bytes happen to ask for.
    except Exception as error:
        forbidden = _FORBIDDEN.search(str(error))
        if forbidden:
            raise ValueError(
                f'{path} is refused: it asks for {forbidden[1]}, and only '
                'tensors and plain values are read. Nothing in it was run'
            ) from error
        raise _broken(path, 'checkpoint of torch', error) from error


def _compare_sums(path: Path) -> None:
    """Raises if a byte of a zip archive has changed; torch does not look.

    Raises:
        BadZipFile: Names the part that is damaged.
    """
    if not is_zipfile(path):  # torch's old format has no sums
        return
    with ZipFile(path) as file:
        # torch can be told to write no sums: then all of them are 0.
        has_sums = any(entry.CRC for entry in file.infolist())
        damaged = file.testzip() if has_sums else None
    if damaged:
        raise BadZipFile(f'{damaged} in it has changed since it was written')


_READERS: dict[str, Callable[[Path], Any]] = {
    '.safetensors': _read_safetensors,
    '.npz': _read_npz,
}


def _broken(path: Path, kind: str, error: Exception) -> ValueError:
    # torch explains at length how to read such a file unsafely.
    advice = ('weights_only', 'Weights only')
    lines = [
        line.strip()
        for line in str(error).splitlines()
        if line.strip() and not any(words in line for words in advice)
    ]
    reason = lines[0] if lines else 'no reason given'
    text = f'{type(error).__name__}: {reason[:200]}'
    return ValueError(f'{path} is broken or no {kind} ({text})')


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of the innermost wrapper."""
    inside: list[str] = []
    while isinstance(content, Mapping) and len(inside) < 4:
        key = next(
            (k for k in _WRAPPERS if isinstance(content.get(k), Mapping)), None
        )
        if key is None:
            break
        inside.append(key)
        content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError(
            f'{path} holds no weights but {type(content).__name__}'
        )
    weights = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if not weights:
        raise ValueError(
            f'{path} holds no weights; its keys are {_some(content)}; looked '
            f'for under {", ".join(_WRAPPERS)}'
        )
    if inside:
        print_log(f'{path}: weights taken from {inside}', 'current')
    if len(weights) < len(content):
        others = [name for name in content if name not in weights]
        print_log(f'{path}: no tensors, left out: {_some(others)}', 'current')
    return weights


def _strip(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Takes away what wraps a network in a training script."""
    if all(name.startswith('module.') for name in weights):
        weights = {name[len('module.') :]: w for name, w in weights.items()}
    # mmpretrain's own classifiers keep their 'backbone.'.
    if 'backbone.patch_embed.proj.weight' not in weights:
        return weights
    stripped = {}
    for name, weight in weights.items():
        new = name.removeprefix('backbone.')
        if new in stripped:
            raise ValueError(f'{name}: there is a {new} beside it')
        stripped[new] = weight
    return stripped


def _some(names: Any) -> str:
    shown = [str(name)[:60] for name in list(names)[:6]]
    more = ', ...' if len(names) > len(shown) else ''
    return (', '.join(shown) or 'none') + more
