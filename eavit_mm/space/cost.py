"""MACs and parameters of a subnet in closed form.

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


def attention_macs(embed_dims: int, channels: int, tokens: int) -> int:
    """q, k, v and output projections and both products (EA-ViT's MACs).

    Args:
        embed_dims: E.
        channels: A; 0 means that the branch is off and free.
        tokens: N of one image, extra tokens included.

    Returns:
        ``4 N E A + 2 N^2 A`` multiply-adds for one image.
    """
    return 4 * tokens * embed_dims * channels + 2 * tokens**2 * channels


def ffn_macs(
    embed_dims: int, channels: int, tokens: int, matrices: int = 2
) -> int:
    """The projections of one FFN.

    Args:
        embed_dims: E.
        channels: F; 0 means that the branch is off and free.
        tokens: N.
        matrices: 2 for an ordinary FFN, 3 for SwiGLU.

    Returns:
        ``matrices N E F`` multiply-adds for one image.
    """
    return matrices * tokens * embed_dims * channels


@dataclass(frozen=True)
class Geometry:
    """What the cost of a ViT depends on besides the subnet.

    Attributes:
        num_patches: Patches of one image.
        num_extra_tokens: Class token and the like.
        patch_dims: Input values of one patch (channels x height x width).
        head_dims: Channels of a head.
        num_layers: L.
        patch_bias: The patch embedding has a bias.
        stem_norms: LayerNorms in front of the layers (patch norm, pre-norm).
        tail_norms: LayerNorms behind them (final norm, norm of the pool).
        qkv_bias: Per layer: q, k and v have a bias.
        layer_scale: Per layer: (attention, FFN) have a layer scale.
        swiglu: Per layer: the FFN is a SwiGLU.
    """

    num_patches: int
    num_extra_tokens: int
    patch_dims: int
    head_dims: int
    num_layers: int
    patch_bias: bool
    stem_norms: int
    tail_norms: int
    qkv_bias: tuple[bool, ...]
    layer_scale: tuple[tuple[bool, bool], ...]
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
        self._check(subnet)
        tokens = self.num_tokens if count == 'exact' else self.num_patches
        embed_dims = subnet.embed_dims
        total = sum(
            attention_macs(embed_dims, heads * self.head_dims, tokens)
            + ffn_macs(embed_dims, channels, tokens, 3 if swiglu else 2)
            for heads, channels, swiglu in zip(
                subnet.num_heads,
                subnet.feedforward_channels,
                self.swiglu,
                strict=True,
            )
        )
        if count == 'exact':
            total += self.num_patches * self.patch_dims * embed_dims
        return total

    def params(self, subnet: Subnet) -> int:
        """Parameters of the exported backbone."""
        self._check(subnet)
        norms = self.stem_norms + self.tail_norms
        per_channel = self.patch_dims + self.patch_bias + self.num_tokens
        # The class token and its like, beside their positions.
        per_channel += self.num_extra_tokens + 2 * norms
        total = 0
        for layer, heads in enumerate(subnet.num_heads):
            if heads:
                channels = heads * self.head_dims
                total += 4 * subnet.embed_dims * channels
                total += 3 * channels * self.qkv_bias[layer]
                # Norm (2), bias of the projection (1), layer scale.
                per_channel += 3 + self.layer_scale[layer][0]
        for layer, channels in enumerate(subnet.feedforward_channels):
            if channels:
                inputs = 2 if self.swiglu[layer] else 1
                total += (inputs + 1) * subnet.embed_dims * channels
                total += inputs * channels
                per_channel += 3 + self.layer_scale[layer][1]
        return total + per_channel * subnet.embed_dims

    def _check(self, subnet: Subnet) -> None:
        for name in ('num_layers', 'head_dims'):
            given, own = getattr(subnet, name), getattr(self, name)
            if given != own:
                raise ValueError(
                    f'the subnet has {name}={given}, the network {own}'
                )
