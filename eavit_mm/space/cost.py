"""MACs and parameters of a subnet in closed form.

A MAC is one multiply-add; FLOPs, as torch counts them, are twice that. Only
matrix products count: no bias, norm, softmax, activation or interpolation.
Every formula takes plain integers or tensors (sums of gates), and is then
differentiable.

Letters: E open channels of the residual stream, A open attention channels
(heads x head width), F open hidden channels of the FFN, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from eavit_mm.space.subnet import Subnet

COUNTS = ('exact', 'paper')

# int for a subnet, float or a tensor for gates.
Width = TypeVar('Width', int, float, Any)


def attention_macs(embed_dims: Width, channels: Width, tokens: int) -> Width:
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
    embed_dims: Width, channels: Width, tokens: int, matrices: int = 2
) -> Width:
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


def _is_open(width: Width) -> Width:
    """1 where a branch has any width, else 0."""
    return width.clamp(max=1) if hasattr(width, 'clamp') else min(width, 1)


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
        self._check(subnet)
        return self.macs_of_widths(
            subnet.embed_dims,
            subnet.num_heads,
            subnet.feedforward_channels,
            count,
        )

    def _check(self, subnet: Subnet) -> None:
        for name in ('num_layers', 'head_dims'):
            given, own = getattr(subnet, name), getattr(self, name)
            if given != own:
                raise ValueError(
                    f'the subnet has {name}={given}, the network {own}'
                )

    def macs_of_widths(
        self,
        embed_dims: Width,
        num_heads: Sequence[Width],
        feedforward_channels: Sequence[Width],
        count: str = 'exact',
    ) -> Width:
        """:meth:`macs` of widths that may be tensors; same arguments."""
        if count not in COUNTS:
            raise ValueError(f'count={count!r}; must be one of {COUNTS}')
        tokens = self.num_tokens if count == 'exact' else self.num_patches
        total = sum(
            attention_macs(embed_dims, heads * self.head_dims, tokens)
            + ffn_macs(embed_dims, channels, tokens, 3 if swiglu else 2)
            for heads, channels, swiglu in zip(
                num_heads, feedforward_channels, self.swiglu, strict=True
            )
        )
        if count == 'exact':
            total = total + self.num_patches * self.patch_dims * embed_dims
        return total

    def params(self, subnet: Subnet) -> int:
        """Parameters of the exported backbone."""
        self._check(subnet)
        return self.params_of_widths(
            subnet.embed_dims, subnet.num_heads, subnet.feedforward_channels
        )

    def params_of_widths(
        self,
        embed_dims: Width,
        num_heads: Sequence[Width],
        feedforward_channels: Sequence[Width],
    ) -> Width:
        """:meth:`params` of widths that may be tensors; same arguments."""
        norms = self.stem_norms + self.tail_norms
        per_channel = self.patch_dims + self.patch_bias + self.num_tokens
        # The class token and its like, beside their positions.
        per_channel += self.num_extra_tokens + 2 * norms
        total = embed_dims * per_channel
        for layer in range(self.num_layers):
            total = total + self._attention_params(
                layer, embed_dims, num_heads[layer]
            )
            total = total + self._ffn_params(
                layer, embed_dims, feedforward_channels[layer]
            )
        return total

    def _attention_params(
        self, layer: int, embed_dims: Width, heads: Width
    ) -> Width:
        channels = heads * self.head_dims
        matrices = 4 * embed_dims * channels
        biases = 3 * channels * self.qkv_bias[layer]
        # Norm (2), bias of the projection (1), layer scale.
        per_channel = 3 + self.layer_scale[layer][0]
        return matrices + biases + per_channel * embed_dims * _is_open(heads)

    def _ffn_params(
        self, layer: int, embed_dims: Width, channels: Width
    ) -> Width:
        inputs = 2 if self.swiglu[layer] else 1
        matrices = (inputs + 1) * embed_dims * channels
        biases = inputs * channels
        per_channel = 3 + self.layer_scale[layer][1]
        return (
            matrices + biases + per_channel * embed_dims * _is_open(channels)
        )
