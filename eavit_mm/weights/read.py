"""Files of weights: where, which format, read without running what is in them.

Everything that this package and mmengine load goes through here, whatever
its place: a path, a URL, a place of mmengine's storage (``s3://``,
``petrel://``), or a name in its lists of networks (``openmmlab://``).
"""

import hashlib
import re
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlparse
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import torch
from mmengine import fileio
from mmengine.logging import print_log
from mmengine.runner import checkpoint as mmengine_lists
from safetensors.torch import load_file
from torch import Tensor

from eavit_mm.download import download
from eavit_mm.weights.state_dict import first_few, plain_name

# Under these keys training scripts keep the network: mmengine's and timm's,
# DeiT's and MAE's, DINO's, others'. The first one that is there counts.
_WRAPPERS = (
    *('state_dict', 'model', 'teacher', 'model_state_dict', 'net', 'network'),
    *('module', 'params', 'weights', 'ema', 'ema_model', 'model_ema'),
    *('target_encoder', 'encoder', 'backbone'),
)
# A date has no letter.
_SUM = re.compile(r'-(?=\d*[a-f])([\da-f]{8})\.\w+$')
_FORBIDDEN = re.compile(r'nsupported.*GLOBAL ([\w.]+)')
# mmengine's lists of networks: name to URL.
_LISTS: dict[str, Callable[[], Mapping[str, str]]] = {
    'torchvision': mmengine_lists.get_torchvision_models,
    'modelzoo': mmengine_lists.get_torchvision_models,
    'openmmlab': mmengine_lists.get_external_models,
    'open-mmlab': mmengine_lists.get_external_models,
    'mmcls': mmengine_lists.get_mmcls_models,
}
# What the torch files that were read last say beside their weights.
METAS: dict[str, Any] = {}


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads the weights of a network, in the names of the file.

    The ending says the format: ``.safetensors``, ``.npz`` (the JAX originals;
    arrays only, no objects), anything else is torch's (``.pth``, ``.bin``,
    ``.pt``), read with ``weights_only=True``. Of a training checkpoint the
    network is taken ('state_dict', 'model', DINO's 'teacher', ...), and what
    torch's compiler and FSDP put into names is taken out of them.

    Returns:
        Names to tensors on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated, not of this format, holds no weights,
            or holds objects that could run code.
    """
    is_local = '://' not in str(path)
    name = path if is_local else urlparse(str(path)).path
    suffix = Path(name).suffix.lower()
    content = _read(path, *_READERS.get(suffix, _TORCH))
    inside: list[str] = []
    # A hostile file may hold a dict that contains itself, hence the limit.
    for _ in range(4):
        if not isinstance(content, Mapping):
            kind = type(content).__name__
            raise ValueError(f'{path} holds no weights but {kind}')
        keys = [k for k in _WRAPPERS if isinstance(content.get(k), Mapping)]
        if keys:
            inside.append(keys[0])
            content = content[keys[0]]
    weights: dict[str, Tensor] = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    others = [name for name in content if name not in weights]
    if not weights:
        raise ValueError(
            f'{path} holds no weights; its keys are '
            f'{first_few(others) or "none"}; looked for under '
            f'{", ".join(_WRAPPERS[:4])}, ...'
        )
    if inside:
        print_log(
            f'{path}: weights taken from {" > ".join(inside)}', 'current'
        )
    if others:
        print_log(f'{path}: no tensors in {first_few(others)}', 'current')
    plain = {plain_name(name): weight for name, weight in weights.items()}
    return plain if len(plain) == len(weights) else weights


def read_torch_file(path: str | Path) -> Any:
    """What ``torch.save`` wrote: tensors and plain values, no code is run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds objects that could run code.
    """
    return _read(path, *_TORCH)


def _read(path: str | Path, kind: str, read: Callable[[Path], Any]) -> Any:
    """What a reader finds in a file that may be damaged or hostile."""
    with _on_this_machine(path) as file:
        try:
            content = read(file)
        # Damaged files raise whatever their bytes happen to ask for: errors
        # of zipfile, zlib, struct, pickle, numpy, safetensors and Python.
        except Exception as error:
            forbidden = _FORBIDDEN.search(str(error))
            if forbidden:
                raise ValueError(
                    f'{path} is refused: it asks for {forbidden[1]}, and only '
                    'tensors and plain values are read. Nothing in it was run'
                ) from error
            text = f'{path} is broken or no {kind} ({_reason(error)})'
            raise ValueError(text) from error
    METAS[str(path)] = content.get('meta') if isinstance(content, dict) else {}
    # Of these mmengine has the backbone.
    if str(path).lower().startswith('mmcls://'):
        return mmengine_lists._process_mmcls_checkpoint(content)
    return content


@contextmanager
def _on_this_machine(name: str | Path) -> Iterator[Path]:
    """The file of a path, a URL or a name, as long as the block lasts.

    Raises:
        FileNotFoundError: If it is not there, or cannot be fetched.
    """
    place, is_remote, listed = str(name).partition('://')
    if ':' not in place:  # the name of a cluster keeps its capitals
        place = place.lower()
    if not is_remote:
        path = Path(name).expanduser()
        if not path.is_file():
            folder = 'a folder; name the file in it'
            what = folder if path.is_dir() else 'not there'
            raise FileNotFoundError(f'{path} is {what}')
        yield path
        return
    with ExitStack() as stack:
        try:
            url = f'{place}://{listed}'
            if place in _LISTS:
                renamed = mmengine_lists.get_deprecated_model_names()
                url = _LISTS[place]()[renamed.get(listed, listed)]
            path = stack.enter_context(_fetched(url))
        except Exception as error:
            raise FileNotFoundError(
                f'{name} cannot be fetched ({_reason(error)}); in its place '
                'give the path of a file that was fetched elsewhere, or '
                'another place, such as https://'
            ) from error
        yield path


@contextmanager
def _fetched(url: str) -> Iterator[Path]:
    """The file of a URL as long as the block lasts.

    Raises:
        ValueError: If its name ends with eight digits that its sum does not
            begin with, as those of torch.hub and OpenMMLab do.
    """
    if not url.startswith(('http://', 'https://')):
        with fileio.get_local_path(url) as path:
            yield Path(path)
        return
    with TemporaryDirectory() as folder:
        file = Path(folder, 'weights')
        download(url, file)
        if published := _SUM.search(urlparse(url).path):
            with file.open('rb') as opened:
                found = hashlib.file_digest(opened, 'sha256').hexdigest()
            if not found.startswith(published[1]):
                raise ValueError(
                    f'its sha256 begins with {found[:8]}, its name says '
                    f'{published[1]}: damaged, or another file'
                )
        yield file


def _read_torch(path: Path) -> Any:
    _compare_sums(path)
    # Training scripts keep their options; a Namespace is only values.
    with torch.serialization.safe_globals([Namespace]):
        return torch.load(path, map_location='cpu', weights_only=True)


def _read_npz(path: Path) -> dict[str, Tensor]:
    with np.load(path, allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


_TORCH = ('checkpoint of torch', _read_torch)
# Ending to what such a file is called, and its reader.
_READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    '.safetensors': ('safetensors file', load_file),
    '.npz': ('.npz file of arrays', _read_npz),
}


def _compare_sums(path: Path) -> None:
    """Raises if a byte of a zip archive has changed; torch does not look."""
    if not is_zipfile(path):  # torch's old format has no sums
        return
    with ZipFile(path) as file:
        # torch can be told to write no sums: then all of them are 0.
        has_sums = any(entry.CRC for entry in file.infolist())
        damaged = file.testzip() if has_sums else None
    if damaged:
        raise BadZipFile(f'{damaged} in it has changed since it was written')


def _reason(error: Exception) -> str:
    """Its type, and a line that tells of no way to read the file unsafely."""
    lines = (line.strip() for line in str(error).splitlines())
    safe = (line for line in lines if line and 'eights' not in line)
    return f'{type(error).__name__}: {next(safe, "no reason given"):.100}'
