"""Foreign weights straight from a config's ``init_cfg``.

mmengine loads ``init_cfg=dict(type='Pretrained', checkpoint=...)`` by
``torch.load``, in the names of the file. We register a scheme of paths,
``eavit_mm://FILE``, whose loader reads every format and converts. A supernet
puts it in front of a file that needs it, so that configs give plain paths;
any other network may be given it by hand. ``eavit_mm://FILE?num_patches=N``
says how many patches the network has that loads.
"""

import re
from pathlib import Path
from typing import Any

from mmengine.runner import CheckpointLoader
from torch import Tensor

from eavit_mm.weights.convert import convert_weights
from eavit_mm.weights.layouts import MMPRETRAIN, layout_of
from eavit_mm.weights.read import OTHER_FORMATS, read_weights

SCHEME = 'eavit_mm://'
_QUERY = '?num_patches='


@CheckpointLoader.register_scheme(SCHEME, force=True)
def load_from_foreign_file(
    filename: str, map_location: Any = None
) -> dict[str, Tensor]:
    """A backbone in mmpretrain's names; such a file as it is.

    Args:
        filename: Path with the scheme in front, and perhaps the number of
            patches behind.
        map_location: Not used: weights are on the CPU.
    """
    path, num_patches = split_checkpoint(filename)
    weights = read_weights(path)
    if layout_of(weights) == MMPRETRAIN:
        return weights
    try:
        return convert_weights(
            weights, head='none', prefix='', num_patches=num_patches
        )
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def split_checkpoint(checkpoint: str) -> tuple[str, int | None]:
    """The path in an ``init_cfg``, and the number of patches if it has one.

    Args:
        checkpoint: A path, or one with our scheme.
    """
    path = checkpoint.removeprefix(SCHEME)
    match = re.fullmatch(rf'(.+){re.escape(_QUERY)}(\d+)', path)
    if path == checkpoint or match is None:
        return path, None
    return match[1], int(match[2])


def resolve_pretrained(init_cfg: Any, num_patches: int) -> Any:
    """Sends foreign files of an ``init_cfg`` to our loader.

    Local files in timm's, Hugging Face's or flax's names get the scheme, and
    lose the ``prefix``: it is of mmpretrain's checkpoints. A file in
    mmpretrain's names gets it if mmengine cannot read the format.

    Args:
        init_cfg: A dict, a list of dicts or None.
        num_patches: Of the network that loads.

    Returns:
        The same, with other entries where needed.

    Raises:
        ValueError: If a file is broken.
    """
    if isinstance(init_cfg, list):
        several = [resolve_pretrained(cfg, num_patches) for cfg in init_cfg]
        # mmpretrain draws new positions unless init_cfg is a Pretrained dict.
        return several[0] if len(several) == 1 else several
    if not isinstance(init_cfg, dict) or init_cfg.get('type') != 'Pretrained':
        return init_cfg
    path = str(init_cfg.get('checkpoint', ''))
    if '://' in path:
        return init_cfg
    layout = layout_of(read_weights(path))
    if layout not in (MMPRETRAIN, None):
        checkpoint = f'{SCHEME}{path}{_QUERY}{num_patches}'
        return dict(init_cfg, checkpoint=checkpoint, prefix=None)
    is_other = Path(path).suffix.lower() in OTHER_FORMATS
    return dict(init_cfg, checkpoint=SCHEME + path) if is_other else init_cfg
