"""The exported form: a dense ViT whose layers have widths of their own.

Modules that do nothing are not called: in small networks calls take time.

Letters: B batch, N tokens, E channels of the residual stream, h heads of a
layer, D channels of a head, F hidden channels of a layer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule, ModuleList
from mmpretrain.models.backbones.vision_transformer import (
    TransformerEncoderLayer,
)
from mmpretrain.models.utils import MultiheadAttention, SwiGLUFFN
from torch import Tensor, nn

from eavit_mm.models.register_vit import RegisterVisionTransformer
from eavit_mm.options import check_keys, check_mapping, check_number
from eavit_mm.registry import MODELS
from eavit_mm.space import Subnet

_WIDTHS = ('num_heads', 'feedforward_channels')
_KEYS = ('embed_dims', 'num_layers', *_WIDTHS, 'head_dims')


def channels_last(images: Tensor) -> Tensor:
    """Images (B, channels, h, w) as a patch embedding is to get them.

    On a GPU with the channels innermost in memory: the convolution then
    answers likewise, and its tokens (B, N, E) are contiguous. Else they lie
    as (B, E, N), in all layers if no class token is joined to them: every
    norm would copy its input, and every sum read it across.
    """
    if not images.is_cuda:
        return images
    return images.contiguous(memory_format=torch.channels_last)


class SlimAttention(BaseModule):
    """Attention whose heads need not add up to the embedding.

    Takes dropouts and layer scale over from a stock module, whose parameter
    names it has; its linear maps are new.

    Args:
        attn: A stock attention over E channels.
        num_heads: At least 1.
        head_dims: The width of a head.
        qk_scale: Of the logits; None: that of heads of this width.
    """

    def __init__(
        self,
        attn: MultiheadAttention,
        num_heads: int,
        head_dims: int,
        qk_scale: float | None = None,
    ) -> None:
        super().__init__(attn.init_cfg)
        E, channels = attn.embed_dims, num_heads * head_dims
        self.num_heads, self.head_dims = num_heads, head_dims
        self.qk_scale = qk_scale
        self.qkv = nn.Linear(E, 3 * channels, bias=attn.qkv.bias is not None)
        self.attn_drop = attn.attn_drop
        self.proj = nn.Linear(channels, E)
        self.proj_drop, self.out_drop = attn.proj_drop, attn.out_drop
        self.gamma1 = attn.gamma1
        self.is_scaled = not isinstance(attn.gamma1, nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the residual stream: (B, N, E) -> (B, N, E)."""
        B, N, _ = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, self.head_dims)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()  # (B, h, N, D) each
        dropout = self.attn_drop if self.training else 0.0
        x = F.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=self.qk_scale
        )
        x = self.proj(x.transpose(1, 2).flatten(2))
        if self.training:
            x = self.proj_drop(x)
        if self.is_scaled:
            x = self.gamma1(x)
        return self.out_drop(x) if self.training else x


class SlimFFN(BaseModule):
    """mmcv's FFN without the identity beside it.

    Takes all modules over from a stock one of two linear maps, whose
    parameter names it has.
    """

    def __init__(self, ffn: FFN) -> None:
        super().__init__(ffn.init_cfg)
        self.layers, self.gamma2 = ffn.layers, ffn.gamma2
        self.dropout_layer = ffn.dropout_layer
        self.is_scaled = not isinstance(ffn.gamma2, nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the residual stream: (B, N, E) -> (B, N, E)."""
        hidden, output, dropout = self.layers
        if self.training:
            x = dropout(output(hidden(x)))
        else:
            linear, activation, _ = hidden
            x = output(activation(linear(x)))
        if self.is_scaled:
            x = self.gamma2(x)
        return self.dropout_layer(x) if self.training else x


class SlimEncoderLayer(TransformerEncoderLayer):
    """mmpretrain's encoder layer without the branches of width 0.

    Takes the other modules over from a built layer: names and initialisation
    are the stock layer's.

    Args:
        layer: A stock layer over E channels, its FFN with F hidden ones.
        num_heads: h; 0: no attention.
        feedforward_channels: F; 0: no FFN.
        head_dims: D.
        qk_scale: As of :class:`SlimAttention`.
    """

    def __init__(
        self,
        layer: TransformerEncoderLayer,
        num_heads: int,
        feedforward_channels: int,
        head_dims: int,
        qk_scale: float | None = None,
    ) -> None:
        BaseModule.__init__(self, layer.init_cfg)
        self.embed_dims = layer.embed_dims
        self.ln1: Any = None
        self.attn: Any = None
        self.ln2: Any = None
        self.ffn: Any = None
        if num_heads:
            self.ln1 = layer.ln1
            self.attn = SlimAttention(
                layer.attn, num_heads, head_dims, qk_scale
            )
        if feedforward_channels:
            self.ln2 = layer.ln2
            self.ffn = _slim_ffn(layer.ffn, feedforward_channels)

    def init_weights(self) -> None:
        """The stock initialisation, of what is there."""
        if self.ffn is None:
            BaseModule.init_weights(self)
        else:
            super().init_weights()

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, E) -> (B, N, E); a branch that is not there adds nothing."""
        if self.attn is not None:
            x = x + self.attn(self.ln1(x))
        if self.ffn is not None:
            x = x + self.ffn(self.ln2(x))
        return x


def _slim_ffn(ffn: FFN | SwiGLUFFN, channels: int) -> SlimFFN | SwiGLUFFN:
    """The FFN; a SwiGLU anew: mmpretrain rounds the width it is given."""
    if not isinstance(ffn, SwiGLUFFN):
        return SlimFFN(ffn)
    has_bias = ffn.w12.bias is not None
    slim = SwiGLUFFN(
        ffn.embed_dims, channels, bias=has_bias, add_identity=False
    )
    slim.gamma2 = ffn.gamma2
    return slim


@MODELS.register_module()
class SlimVisionTransformer(RegisterVisionTransformer):
    """Dense Vision Transformer with widths of its own in every layer.

    What a subnet is exported to; trains, loads and runs as any backbone.
    Parameter names are the stock network's, where the part exists.

    Args:
        arch: ``embed_dims``, ``num_layers``, ``head_dims`` and, as lists
            with one width per layer, ``num_heads`` and
            ``feedforward_channels``; 0: that branch does not exist. Hidden
            channels are taken as they are, in a SwiGLU too.
        layer_cfgs: As in ``VisionTransformer``, without widths.
        frozen_stages: As in ``VisionTransformer``.
        qk_scale: Of the logits of attention; None: head_dims ** -0.5. Heads
            that were cut narrower keep that of the whole ones.
        **kwargs: Those of ``VisionTransformer``, and ``num_register_tokens``.

    Raises:
        ValueError: If ``arch`` lacks a key or has another one, a width is
            not valid, or a layer's config has widths as well.

    Example:
        >>> dict(type='eavit_mm.SlimVisionTransformer',
        ...      arch=dict(embed_dims=384, num_layers=2, head_dims=64,
        ...                num_heads=[6, 0],
        ...                feedforward_channels=[768, 1536]))
    """

    def __init__(
        self,
        arch: Mapping[str, Any],
        *,
        layer_cfgs: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
        frozen_stages: int = -1,
        qk_scale: float | None = None,
        **kwargs: Any,
    ) -> None:
        if qk_scale is not None:
            check_number('qk_scale', qk_scale, positive=True)
        widths = _widths(arch)
        # The stock constructor knows its arguments and their defaults; of
        # its layers, those parts stay that have the right width.
        stock = dict(arch, num_heads=1, feedforward_channels=1)
        cfgs = _layer_cfgs(layer_cfgs, widths)
        super().__init__(arch=stock, layer_cfgs=cfgs, **kwargs)
        heads, hidden = widths.num_heads, widths.feedforward_channels
        layers = self.get_submodule('layers').children()
        self.layers = ModuleList(
            SlimEncoderLayer(layer, h, f, widths.head_dims, qk_scale)
            for layer, h, f in zip(layers, heads, hidden, strict=True)
        )
        self.arch_settings = dict(arch)
        self.frozen_stages = frozen_stages
        if frozen_stages > 0:
            self._freeze_stages()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """As ``VisionTransformer``."""
        features: tuple[Tensor, ...] = super().forward(channels_last(x))
        return features


def _widths(arch: Any) -> Subnet:
    """The widths of an architecture, checked."""
    check_mapping('arch', arch, f'widths with the keys {_KEYS}')
    check_keys('arch', arch, _KEYS)
    values = {key: arch[key] for key in _KEYS if key != 'num_layers'}
    try:
        widths = Subnet.from_dict(values)
    except ValueError as error:
        raise ValueError(f'arch: {error}') from error
    if widths.num_layers != arch['num_layers']:
        raise ValueError(
            f'arch: num_layers={arch["num_layers"]!r}, but num_heads lists '
            f'{widths.num_layers}; must be one for each layer'
        )
    return widths


def _layer_cfgs(given: Any, widths: Subnet) -> list[dict[str, Any]]:
    """The stock constructor's, each with the layer's hidden channels."""
    if isinstance(given, Mapping):
        given = [given] * widths.num_layers
    cfgs = list(given) or [{}] * widths.num_layers
    if len(cfgs) != widths.num_layers:
        raise ValueError(
            f'layer_cfgs lists {len(cfgs)}; must be one for each of '
            f'num_layers={widths.num_layers}'
        )
    for i, cfg in enumerate(cfgs):
        for name in _WIDTHS:
            if name in cfg:
                raise ValueError(
                    f'layer_cfgs: layer {i}: {name}={cfg[name]!r}; widths '
                    'stand in arch'
                )
    hidden = widths.feedforward_channels
    return [
        dict(cfg, feedforward_channels=max(channels, 1))
        for cfg, channels in zip(cfgs, hidden, strict=True)
    ]
