"""Which axis of which parameter of a ViT runs over which units.

The one place that says it. Permutation, magnitude scores, parameter counts
and export follow from this table. Only the running network slices its weights
by hand, for speed; a test holds those slices against the table.
"""

import re
from collections import Counter
from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import torch
from mmcv.cnn.bricks.transformer import FFN
from mmpretrain.models import VisionTransformer
from mmpretrain.models.utils import SwiGLUFFN
from torch import Tensor, nn

from eavit_mm.space import Subnet
from eavit_mm.space.cells import EMBED, HEADS
from eavit_mm.space.cells import FFN as HIDDEN
from eavit_mm.space.subnet import PREFIX

# A kind of unit: the axis of the space and the layer, 0 for the channels.
Units = tuple[str, int]
CHANNELS: Units = (EMBED, 0)

# Module -> its branch, the units along its outputs and, of a linear map, along
# its inputs. First those before and behind the layers.
_Table = dict[str, tuple[str | None, str, str | None]]
_ENDS: _Table = dict.fromkeys(
    ('patch_embed.projection', 'patch_embed.norm', 'pre_norm', 'ln1', 'ln2'),
    (None, EMBED, None),
)
_LAYER: _Table = {
    'ln1': (HEADS, EMBED, None),
    'attn.qkv': (HEADS, HEADS, EMBED),
    'attn.proj': (HEADS, EMBED, HEADS),
    'attn.gamma1': (HEADS, EMBED, None),
    'ln2': (HIDDEN, EMBED, None),
    'ffn.layers.0.0': (HIDDEN, HIDDEN, EMBED),
    'ffn.layers.1': (HIDDEN, EMBED, HIDDEN),
    'ffn.w12': (HIDDEN, HIDDEN, EMBED),
    'ffn.w3': (HIDDEN, EMBED, HIDDEN),
    'ffn.gamma2': (HIDDEN, EMBED, None),
}
# Outputs that hold all units several times: queries, keys and values; the
# gates of a SwiGLU, then its values.
_PARTS = {'attn.qkv': 3, 'ffn.w12': 2}


class Axis(NamedTuple):
    """One axis of a parameter: all units in a row, ``parts`` times.

    Attributes:
        dim: Index of the axis.
        units: The kind of unit.
        parts: How often the whole row of units stands there.
        width: Entries of one unit, which stand side by side.
    """

    dim: int
    units: Units
    parts: int = 1
    width: int = 1

    def split(self, weight: Tensor) -> Tensor:
        """A view in which axis ``dim + 1`` counts the units."""
        return torch.unflatten(weight, self.dim, (self.parts, -1, self.width))

    def narrow(self, weight: Tensor, subnet: Subnet) -> Tensor:
        """The units that a subnet opens; a view where they stand in a row."""
        number = units_of(subnet)[self.units]
        width = subnet.head_dims if self.units[0] == HEADS else self.width
        weight = self.split(weight)
        for dim, size in ((self.dim + 1, number), (self.dim + 2, width)):
            is_prefix = subnet.side == PREFIX
            start = 0 if is_prefix else weight.shape[dim] - size
            weight = weight.narrow(dim, start, size)
        return weight.flatten(self.dim, self.dim + 2)

    def reorder(self, weight: Tensor, order: Tensor) -> Tensor:
        """The units in another order: new position -> old index."""
        order = order.to(weight.device)
        moved = self.split(weight).index_select(self.dim + 1, order)
        return moved.flatten(self.dim, self.dim + 2)

    def sum(self, weight: Tensor) -> Tensor:
        """Sums over everything but the units: (units)."""
        split = self.split(weight)
        others = [d for d in range(split.ndim) if d != self.dim + 1]
        return split.sum(others)


class ParameterAxes(NamedTuple):
    """What is known of one parameter.

    Attributes:
        axes: Its axes that run over units.
        branch: The branch that it belongs to: where that has no units, the
            parameter does not exist. None outside of the layers.
        is_map: Whether it is the weight of a linear map or convolution.
    """

    axes: tuple[Axis, ...]
    branch: Units | None
    is_map: bool


def parameter_axes(vit: VisionTransformer) -> dict[str, ParameterAxes]:
    """The axes of every parameter of a ViT, by its name.

    Raises:
        ValueError: Names a parameter that the table does not know.
    """
    found = {}
    for name, weight in vit.named_parameters():
        path = name.rpartition('.')[0]
        if name in ('cls_token', 'pos_embed'):  # (1, N, C)
            found[name] = ParameterAxes((Axis(2, CHANNELS),), None, False)
            continue
        inside = re.match(r'layers\.(\d+)\.', path)
        layer = int(inside[1]) if inside else 0
        module = path[inside.end() :] if inside else path
        known = (_LAYER if inside else _ENDS).get(module)
        if known is None:
            kind = type(vit.get_submodule(path)).__name__
            raise ValueError(
                f'{name}: a weight of {kind} cannot be sliced; it is not '
                'known which channels, heads or hidden channels it runs over'
            )
        branch, outputs, inputs = known
        is_map = weight.ndim > 1
        axes = [_axis(vit, 0, outputs, layer, _PARTS.get(module, 1))]
        if is_map and inputs is not None:
            axes.append(_axis(vit, 1, inputs, layer))
        found[name] = ParameterAxes(
            tuple(axes), None if branch is None else (branch, layer), is_map
        )
    return found


def _axis(
    vit: VisionTransformer, dim: int, name: str, layer: int, parts: int = 1
) -> Axis:
    units = CHANNELS if name == EMBED else (name, layer)
    width = vit.layers[layer].attn.head_dims if name == HEADS else 1
    return Axis(dim, units, parts, width)


def units_of(subnet: Subnet) -> dict[Units, int]:
    """How many units of each kind a subnet opens."""
    found = {CHANNELS: subnet.embed_dims}
    for i in range(subnet.num_layers):
        found[HEADS, i] = subnet.num_heads[i]
        found[HIDDEN, i] = subnet.feedforward_channels[i]
    return found


def _entries_of(subnet: Subnet) -> dict[Units, int]:
    """Likewise, of each head its channels."""
    return {
        units: number * (subnet.head_dims if units[0] == HEADS else 1)
        for units, number in units_of(subnet).items()
    }


def narrow_weights(
    vit: VisionTransformer, subnet: Subnet
) -> dict[str, Tensor]:
    """The weights that a subnet has as a network of its own, by name.

    Views where the whole network holds a weight in one piece.
    """
    units, weights = units_of(subnet), dict(vit.named_parameters())
    found: dict[str, Tensor] = {}
    for name, (axes, branch, _) in parameter_axes(vit).items():
        if branch is not None and not units[branch]:
            continue
        weight: Tensor = weights[name].detach()
        for axis in axes:
            weight = axis.narrow(weight, subnet)
        found[name] = weight
    return found


# The branch of some parameters and the kinds of units along their axes. Summed
# once: the table of a cost asks for thousands of subnets.
Term = tuple[Units | None, tuple[Units, ...]]


def parameter_terms(
    vit: VisionTransformer, largest: Subnet
) -> dict[Term, int]:
    """How many parameters stand for one entry of each kind at once."""
    units, weights = _entries_of(largest), dict(vit.named_parameters())
    terms: Counter[Term] = Counter()
    for name, (axes, branch, _) in parameter_axes(vit).items():
        kinds = tuple(sorted(axis.units for axis in axes))
        whole = prod(units[kind] for kind in kinds)
        terms[branch, kinds] += weights[name].numel() // whole
    return terms


def count_parameters(terms: Mapping[Term, int], subnet: Subnet) -> int:
    """Parameters of a subnet as a network of its own."""
    units = _entries_of(subnet)
    return sum(
        number * prod(units[kind] for kind in kinds)
        for (branch, kinds), number in terms.items()
        if branch is None or units[branch]
    )


def ffn_linears(ffn: FFN | SwiGLUFFN) -> tuple[nn.Linear, nn.Linear]:
    """First and last linear map; SwiGLU's first holds gates, then values."""
    if isinstance(ffn, SwiGLUFFN):
        return ffn.w12, ffn.w3
    return ffn.layers[0][0], ffn.layers[1]


def hidden_channels(ffn: FFN | SwiGLUFFN) -> int:
    """F of the full module; SwiGLU rounds the width it is configured with."""
    return int(ffn_linears(ffn)[1].in_features)
