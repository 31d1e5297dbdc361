"""A converted network is whole: nothing is missing, no weight is NaN."""

import re
from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor

from eavit_mm.weights.state_dict import require_sound


def check_complete(weights: Mapping[str, Tensor]) -> None:
    """Raises if a backbone lacks a weight that its others imply, or has NaN.

    Args:
        weights: In mmpretrain's names, with ``backbone.``.

    Raises:
        ValueError: Names what is missing or not finite.
    """
    require_sound(weights)
    patch = weights.get('backbone.patch_embed.projection.weight')
    if patch is None or patch.ndim != 4:
        shape = None if patch is None else tuple(patch.shape)
        raise ValueError(
            f'patch embedding: weight of shape {shape}; mmpretrain has a '
            'convolution (channels, colours, height, width)'
        )
    layers: dict[int, set[str]] = defaultdict(set)
    for name in weights:
        match = re.match(r'backbone\.layers\.(\d+)\.(.*)', name)
        if match is not None:
            layers[int(match[1])].add(match[2])
    if not layers:
        raise ValueError('there are no layers')
    every = set[str]().union(*layers.values())
    for part in ('ln1', 'ln2', 'attn.qkv', 'attn.proj'):
        every.add(f'{part}.weight')
    missing = [
        f'layers.{i}.{name}'
        for i in range(max(layers) + 1)
        for name in sorted(every - layers.get(i, set()))
    ]
    norms = [n for n in weights if re.search(r'\.(ln\d|pre_norm)\.weight', n)]
    missing += [
        f'{norm.removesuffix("weight")}bias'.removeprefix('backbone.')
        for norm in norms
        if f'{norm.removesuffix("weight")}bias' not in weights
    ]
    if missing:
        more = ', ...' if len(missing) > 4 else ''
        raise ValueError(
            f'{len(missing)} weights are missing (in mmpretrain names): '
            f'{", ".join(missing[:4])}{more}'
        )
