"""MACs of a subnet in closed form.

A MAC is one multiply-add; FLOPs, as torch counts them, are twice that. Only
matrix products count: no bias, norm, softmax, activation or interpolation.
A :class:`CostTable` makes functions of gates of these, with their slopes.

Letters: E open channels of the residual stream, A open attention channels
(heads x head width), F open hidden channels of the FFN, N tokens.
"""

from dataclasses import dataclass

from eavit_mm.options import check_choice
from eavit_mm.space.subnet import Subnet

COUNTS = ('exact', 'paper')


@dataclass(frozen=True)
class Geometry:
    """What the cost of a ViT depends on besides the subnet.

    Attributes:
        num_patches: Patches of one image.
        num_extra_tokens: Class token and the like.
        patch_dims: Input values of one patch (channels x height x width).
        head_dims: Channels of a head of the whole network.
        num_layers: L.
        swiglu: Per layer: the FFN is a SwiGLU.
    """

    num_patches: int
    num_extra_tokens: int
    patch_dims: int
    head_dims: int
    num_layers: int
    swiglu: tuple[bool, ...]

    @property
    def num_tokens(self) -> int:
        """N: patches and extra tokens."""
        return self.num_patches + self.num_extra_tokens

    def macs(self, subnet: Subnet, count: str = 'exact') -> int:
        """Multiply-adds of the backbone for one image.

        Args:
            subnet: Active widths.
            count: 'exact': what torch counts on the exported network.
                'paper': EA-ViT's: blocks only, patches as tokens.

        Raises:
            ValueError: If ``count`` is unknown.
        """
        check_choice('count', count, COUNTS)
        self.check(subnet)
        N = self.num_tokens if count == 'exact' else self.num_patches
        E, A = subnet.embed_dims, sum(subnet.num_heads) * subnet.head_dims
        # Queries, keys, values and output, and both products of attention.
        total = 4 * N * E * A + 2 * N * N * A
        layers = zip(subnet.feedforward_channels, self.swiglu, strict=True)
        total += sum((3 if gated else 2) * N * E * F for F, gated in layers)
        if count == 'exact':
            total += self.num_patches * self.patch_dims * E
        return total

    def check(self, subnet: Subnet) -> None:
        """Raises unless a subnet's layers and heads are the network's.

        Raises:
            ValueError: Names what differs.
        """
        for name in ('num_layers', 'head_dims'):
            given, own = getattr(subnet, name), getattr(self, name)
            if given > own or (name == 'num_layers' and given < own):
                raise ValueError(
                    f'the subnet has {name}={given}, the network {own}'
                )
