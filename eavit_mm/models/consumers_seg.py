"""How mmseg's necks and heads of segmentation read the backbone."""

from typing import Any

from mmseg.models.decode_heads import (
    FCNHead,
    FPNHead,
    SegmenterMaskTransformerHead,
    SETRMLAHead,
    SETRUPHead,
    UPerHead,
)
from mmseg.models.necks import Feature2Pyramid, MLANeck, MultiLevelNeck
from torch import nn

from eavit_mm.models.consumers import Reading, register_consumer
from eavit_mm.models.leaves import OPEN, Leaf

# The modules that read a level, for types in which each reads one level and
# nothing else; {} is the number of the level.
_OF_A_LEVEL: dict[type[nn.Module], tuple[str, ...]] = {
    MultiLevelNeck: ('lateral_convs.{}.conv',),
    MLANeck: ('norm.{}', 'mla.channel_proj.{}.conv'),
    FPNHead: ('scale_heads.{}.0.conv',),
    SETRMLAHead: ('up_convs.{}.0.conv',),
    SETRUPHead: ('norm', 'up_convs.{}.0.conv'),
    SegmenterMaskTransformerHead: ('dec_proj',),
}


def _chosen(part: Any, live: tuple[bool, ...]) -> tuple[bool, ...]:
    """Of the levels that a part reads, whether each is backbone channels.

    Raises:
        ValueError: If it is given fewer.
    """
    index = getattr(part, 'in_index', None)
    if index is None:  # a neck, which reads all
        index = range(len(getattr(part, 'rescales', None) or part.in_channels))
    chosen = [index] if isinstance(index, int) else [*index]
    if not all(-len(live) <= i < len(live) for i in chosen):
        raise ValueError(
            f'reads levels {chosen} and is given {len(live)}; out_indices of '
            'the backbone says how many there are'
        )
    return tuple(live[i] for i in chosen)


def _leaves(
    paths: tuple[str, ...], levels: tuple[bool, ...]
) -> dict[str, Leaf]:
    """What reads the levels that are backbone channels."""
    live = [i for i, is_live in enumerate(levels) if is_live]
    return {path.format(i): Leaf() for i in live for path in paths}


def _describe_levels(part: Any, live: tuple[bool, ...]) -> Reading:
    """A head, or a neck whose levels all become its own."""
    leaves = _leaves(_OF_A_LEVEL[type(part)], _chosen(part, live))
    if hasattr(part, 'in_index'):
        return Reading(leaves)
    return Reading(leaves, (False,) * getattr(part, 'num_outs', len(live)))


def _describe_pyramid(neck: Any, live: tuple[bool, ...]) -> Reading:
    """Every level stays backbone channels, at another resolution.

    What it makes larger has as many channels as it reads, by construction:
    a narrow network can only be built with narrow outputs.
    """
    leaves = {
        name: Leaf(passes=True)
        for name, module in neck.named_modules()
        if isinstance(module, nn.ConvTranspose2d)
    }
    if neck.upsample_4x is not None:
        leaves['upsample_4x.1'] = Leaf()  # the norm between two of them
    return Reading(leaves, _chosen(neck, live), {'embed_dim': 1})


def _describe_uper(head: Any, live: tuple[bool, ...]) -> Reading:
    """The last level is pooled, and read again beside what was pooled."""
    *levels, last = _chosen(head, live)
    leaves = _leaves(('lateral_convs.{}.conv',), tuple(levels))
    if last:
        pools = len(head.psp_modules)
        for i in range(pools):
            leaves[f'psp_modules.{i}.1.conv'] = Leaf()
        leaves['bottleneck.conv'] = Leaf((OPEN, pools * head.channels))
    return Reading(leaves)


def _describe_fcn(head: Any, live: tuple[bool, ...]) -> Reading:
    """One level, or several side by side; read again if it concatenates.

    Raises:
        ValueError: If only some of several levels are backbone channels.
    """
    levels = _chosen(head, live)
    if not any(levels):
        return Reading({})
    if not all(levels):
        raise ValueError(
            f'in_index={head.in_index}: the neck passes some of these levels '
            'on and changes others; they cannot be read side by side'
        )
    number = len(levels)
    opens, sizes = (OPEN,) * number, {'in_channels': number}
    if head.num_convs:
        leaves = {'convs.0.conv': Leaf(opens)}
        if head.concat_input:
            leaves['conv_cat.conv'] = Leaf((*opens, head.channels))
        return Reading(leaves, sizes=sizes)
    # Without convolutions its own channels are the levels', by construction.
    leaves = {'conv_seg': Leaf(opens)}
    if head.concat_input:
        cat = head.conv_cat
        leaves['conv_cat.conv'] = Leaf(opens * 2, passes=True)
        if cat.with_norm:
            leaves[f'conv_cat.{cat.norm_name}'] = Leaf()
    return Reading(leaves, sizes=dict(sizes, channels=number))


for _kind in _OF_A_LEVEL:
    register_consumer(_kind, _describe_levels)
register_consumer(Feature2Pyramid, _describe_pyramid)
register_consumer(UPerHead, _describe_uper)
register_consumer(FCNHead, _describe_fcn)
