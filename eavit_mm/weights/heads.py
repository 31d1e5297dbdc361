"""Where a classifier's head lies in mmpretrain's heads."""

from collections.abc import Mapping

from torch import Tensor

_VIT, _LINEAR = 'head.layers.head.', 'head.fc.'
HEADS = ('linear', 'vit', 'none')


def place_head(
    weights: Mapping[str, Tensor], head: str | None
) -> dict[str, Tensor]:
    """Names a head as one of mmpretrain's classes does.

    Args:
        weights: A classifier's, as a mapping of a layout returns them: in
            the names of ``VisionTransformerClsHead``.
        head: 'linear' for ``LinearClsHead``, 'vit' for
            ``VisionTransformerClsHead``, 'none' to leave it out; None: as
            'linear', if there is a head.

    Returns:
        The weights with that head.

    Raises:
        ValueError: If there is no such choice, no head to place, or the head
            has a hidden layer, which the linear one has not.
    """
    if head not in (*HEADS, None):
        raise ValueError(f'head={head!r}; choose from {", ".join(HEADS)}')
    backbone = {k: w for k, w in weights.items() if not k.startswith('head.')}
    heads = {k: w for k, w in weights.items() if k.startswith('head.')}
    if head == 'none':
        return backbone
    if head is None and not heads:
        return backbone
    if f'{_VIT}weight' not in heads:
        raise ValueError(
            f'head={head or "linear"}: there is no classifier among these '
            'weights; take head=none'
        )
    if head == 'vit':
        return dict(weights)
    if any(name.startswith('head.layers.pre_logits.') for name in heads):
        raise ValueError(
            'the head has a hidden layer (pre_logits), which LinearClsHead '
            'has not: take head=vit (VisionTransformerClsHead with '
            'hidden_dim), or none'
        )
    linear = {k.replace(_VIT, _LINEAR): w for k, w in heads.items()}
    return {**backbone, **linear}
