"""Whose names a set of weights has."""

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from eavit_mm.weights.flax import from_flax
from eavit_mm.weights.hugging_face import from_hugging_face
from eavit_mm.weights.timm import from_timm

MMPRETRAIN = 'mmpretrain'
# Layout to its mapping, in the order of the anchors below.
MAPPINGS: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {
    'timm': from_timm,
    'Hugging Face': from_hugging_face,
    'flax': from_flax,
}
# Every ViT of a layout has this weight, under a prefix or none.
_ANCHORS = {
    'patch_embed.projection.weight': MMPRETRAIN,
    'patch_embed.proj.weight': 'timm',
    'embeddings.patch_embeddings.projection.weight': 'Hugging Face',
    'embedding/kernel': 'flax',
}


def layout_of(names: Iterable[str]) -> str | None:
    """'timm', 'Hugging Face', 'flax', 'mmpretrain', or None if unknown."""
    names = list(names)
    for anchor, layout in _ANCHORS.items():
        for name in names:
            start = name.removesuffix(anchor)
            if name.endswith(anchor) and start[-1:] in ('', '.', '/'):
                return layout
    return None
