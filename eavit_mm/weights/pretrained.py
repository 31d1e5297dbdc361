"""Pretrained weights straight from a config's ``init_cfg``.

mmengine loads ``init_cfg=dict(type='Pretrained', checkpoint=...)`` by
``torch.load``, in the names of the file, and runs what a file from a URL asks
for. We register a scheme of paths, ``eavit_mm://FILE``, whose loader reads
every format and converts. A supernet puts it in front of a path or URL by
itself, so that configs give plain ones; any other network may be given it by
hand. All other schemes get a loader that runs nothing. ``eavit_mm://FILE?num_patches=N``
says how many patches the network has that loads.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.runner import CheckpointLoader
from torch import Tensor

from eavit_mm.weights.convert import convert_weights
from eavit_mm.weights.layouts import (
    MMPRETRAIN,
    find_network,
    log_left_out,
)
from eavit_mm.weights.read import read_torch_file, read_weights

SCHEME = 'eavit_mm://'
_AUGREG = 'https://storage.googleapis.com/vit_models/augreg'
# Files that configs name, and of which of augreg's they are made.
PUBLISHED = {
    'vit-tiny-p16_in1k_fp16.pth': (
        'Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0--'
        'imagenet2012-steps_20k-lr_0.03-res_224.npz'
    ),
    'vit-tiny-p16_in21k.pth': (
        'Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0.npz'
    ),
    'vit-small-p16_in21k.pth': (
        'S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0.npz'
    ),
    'vit-base-p16_in21k.pth': (
        'B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0.npz'
    ),
    'vit-large-p16_in21k.pth': (
        'L_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1.npz'
    ),
    'vit-base-p8_in21k.pth': (
        'B_8-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0.npz'
    ),
}
_PATH = re.compile(
    rf'{SCHEME}(?P<path>.*?)'
    r'(?:\?num_patches=(?P<patches>\d+)(?:&prefix=(?P<prefix>.*))?)?'
)


def register_loader(load: Callable[..., Any]) -> None:
    """Makes a function what mmengine reads files by, wherever they are."""
    names = [name for name in CheckpointLoader._schemes if name != SCHEME]
    CheckpointLoader.register_scheme(names, load, force=True)


def load_from_anywhere(filename: str, map_location: Any = None) -> Any:
    """What mmengine loads; on the CPU, from where it is copied."""
    return read_torch_file(filename)


register_loader(load_from_anywhere)


@CheckpointLoader.register_scheme(SCHEME, force=True)
def load_pretrained(
    filename: str, map_location: Any = None
) -> dict[str, Tensor]:
    """The backbone in a file of any layout, in mmpretrain's names.

    Args:
        filename: ``eavit_mm://PATH[?num_patches=N[&prefix=PREFIX]]``. The
            prefix chooses one of several networks.
        map_location: Not used: weights are on the CPU.

    Raises:
        FileNotFoundError: If there is no such file; says what to put there.
        ValueError: If it is broken or cannot be converted, or is in
            mmpretrain's names and no key has the prefix.
    """
    match = _PATH.fullmatch(filename)
    assert match is not None  # mmengine looked at the scheme
    path, patches, prefix = match.group('path', 'patches', 'prefix')
    try:
        weights = read_weights(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'init_cfg: {error if path else repr(path)}. Put a checkpoint of '
            f'the pretrained network there{_how_to_get(path)}, or give '
            'another one with '
            '--cfg-options model.backbone.init_cfg.checkpoint=FILE'
        ) from error
    prefix = prefix or ''
    has_prefix = any(name.startswith(prefix) for name in weights)
    try:
        library, start = find_network(weights, prefix if has_prefix else '')
        if library != MMPRETRAIN:
            number = int(patches) if patches else None
            return convert_weights(weights, 'none', '', None, number, start)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    if not has_prefix:
        raise ValueError(
            f'init_cfg: {prefix} is not in {path}. Give the prefix that the '
            "keys of the backbone have in this file, such as 'backbone.'"
        )
    inside = [name for name in weights if name.startswith(start)]
    log_left_out(weights.keys() - inside, start)
    return {name.removeprefix(start): weights[name] for name in inside}


def check_pretrained(init_cfg: Any) -> None:
    """Raises as :func:`load_pretrained` if files are not there; reads none.

    What is fetched from elsewhere is not asked for.
    """
    for cfg in init_cfg if isinstance(init_cfg, list) else [init_cfg]:
        if isinstance(cfg, dict) and cfg.get('type') == 'Pretrained':
            path = str(cfg.get('checkpoint') or '')
            if '://' not in path and not Path(path).expanduser().is_file():
                load_pretrained(f'{SCHEME}{path}')


def _how_to_get(path: str) -> str:
    """The command that makes a file that our configs name, or a page."""
    source = PUBLISHED.get(path.rpartition('/')[2])
    if source is None:
        return ' (docs/weights.md: where they are published)'
    return f' (`python -m eavit_mm convert {_AUGREG}/{source} {path}`)'


def resolve_pretrained(init_cfg: Any, num_patches: int) -> Any:
    """Sends the files of an ``init_cfg`` to :func:`load_pretrained`."""
    if isinstance(init_cfg, list):
        several = [resolve_pretrained(cfg, num_patches) for cfg in init_cfg]
        # mmpretrain draws new positions unless init_cfg is a Pretrained dict.
        return several[0] if len(several) == 1 else several
    if not isinstance(init_cfg, dict) or init_cfg.get('type') != 'Pretrained':
        return init_cfg
    path = str(init_cfg.get('checkpoint') or '')
    if path.startswith(SCHEME):
        return init_cfg
    # mmengine would look for the prefix in names that have none: our loader
    # takes it away instead.
    prefix = init_cfg.get('prefix') or ''
    checkpoint = f'{SCHEME}{path}?num_patches={num_patches}&prefix={prefix}'
    return dict(init_cfg, checkpoint=checkpoint, prefix=None)
