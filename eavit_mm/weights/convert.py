"""Weights of any known layout to mmpretrain's names."""

from collections.abc import Mapping

from torch import Tensor

from eavit_mm.weights.complete import check_complete
from eavit_mm.weights.heads import place_head
from eavit_mm.weights.layouts import MAPPINGS, MMPRETRAIN, layout_of
from eavit_mm.weights.positions import fit_positions
from eavit_mm.weights.refused import refuse_by_name

_BACKBONE = 'backbone.'


def convert_weights(
    weights: Mapping[str, Tensor],
    head: str | None = None,
    prefix: str = _BACKBONE,
    class_position: bool | None = None,
    num_patches: int | None = None,
) -> dict[str, Tensor]:
    """Renames a ViT's weights so that mmpretrain's load them.

    Args:
        weights: As :func:`read_weights` returns them.
        head: 'linear', 'vit', 'none' or None, see :func:`place_head`.
        prefix: Of the backbone's names in the result.
        class_position: Whether the class token has a position, see
            :func:`fit_positions`; None: told from the weights.
        num_patches: Of the network that is to load them, if it is known; it
            helps to tell.

    Returns:
        Tensors of their own under mmpretrain's names.

    Raises:
        ValueError: If the names are not known, or the network is one that
            mmpretrain's ``VisionTransformer`` cannot express; says which.
            If the weights leave open whether the class token has a position.
    """
    refuse_by_name(weights)
    layout = layout_of(weights)
    if layout == MMPRETRAIN:
        raise ValueError(
            "these weights have mmpretrain's names already; load them as "
            'they are'
        )
    if layout is None:
        some = ', '.join(sorted(weights)[:4])
        raise ValueError(
            'not the names of a ViT that can be converted (known are '
            f"{', '.join(MAPPINGS)}'s): {some}, ..."
        )
    renamed = fit_positions(
        MAPPINGS[layout](weights), weights, class_position, num_patches
    )
    check_complete(renamed)
    return {
        _with_prefix(name, prefix): weight.detach().clone().contiguous()
        for name, weight in place_head(renamed, head).items()
    }


def _with_prefix(name: str, prefix: str) -> str:
    if not name.startswith(_BACKBONE):
        return name
    return prefix + name.removeprefix(_BACKBONE)
