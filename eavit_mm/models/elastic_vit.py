"""The supernet: mmpretrain's Vision Transformer with prefix subnets.

Letters: B batch, N tokens, C all channels of the residual stream, E open
ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isqrt
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.drop import DropPath
from mmengine.logging import print_log
from mmengine.model import ModuleList
from mmpretrain.models import VisionTransformer
from mmpretrain.models.utils import SwiGLUFFN, resize_pos_embed
from torch import Tensor, nn

from eavit_mm.models.elastic_ffn import hidden_channels
from eavit_mm.models.elastic_layer import ElasticEncoderLayer, LayerSlices
from eavit_mm.models.elastic_ops import (
    Affine,
    GatedNorm,
    gate_norm,
    layer_norm,
    slice_norm,
)
from eavit_mm.models.gates import Gates
from eavit_mm.registry import MODELS
from eavit_mm.space import Geometry, SearchSpace, Subnet
from eavit_mm.weights import resolve_pretrained
from eavit_mm.weights.state_dict import (
    CheckpointError,
    adapt_vit_state,
    check_state_dict,
)


class BackboneSlices(NamedTuple):
    """Every open weight of a subnet, sliced once."""

    projection: Affine
    cls_token: Tensor | None
    pos_embed: Tensor
    norms: Mapping[str, Affine | GatedNorm]
    layers: tuple[LayerSlices, ...]


@MODELS.register_module()
class ElasticVisionTransformer(VisionTransformer):
    """Vision Transformer that runs any subnet of its search space.

    Takes every argument of mmpretrain's ``VisionTransformer`` and has its
    parameter names and shapes: checkpoints load both ways, strictly. With no
    subnet set it *is* the stock network. With one set, only the first
    channels, heads and hidden channels are computed, from views of the
    weights; the features keep their full width, closed channels zero.

    Args:
        *args: Those of ``VisionTransformer``.
        space: Choices per axis, see :class:`eavit_mm.space.SearchSpace`; its
            largest subnet must be the whole network. None: only that one.
        **kwargs: Those of ``VisionTransformer``.

    Raises:
        ValueError: If the space does not fit the network, or the network has
            a part that cannot be sliced, or drops every path.

    Example:
        >>> dict(type='eavit_mm.ElasticVisionTransformer', arch='b',
        ...      space=dict(embed_dims=[384, 768], num_heads=[6, 12],
        ...                 feedforward_channels=[1536, 3072], max_off=2))
    """

    def __init__(
        self,
        *args: Any,
        space: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        stock = self.get_submodule('layers').children()
        self.layers = ModuleList(map(ElasticEncoderLayer, stock))
        _check_sliceable(self)
        _check_drop_path(self)
        self.geometry = _geometry(self)
        self.space = _build_space(self, space)
        self._subnet: Subnet | None = None
        self._slices: BackboneSlices | None = None

    # The active subnet

    @property
    def subnet(self) -> Subnet | None:
        """The active subnet; None is the largest."""
        return self._subnet

    def set_subnet(self, subnet: Subnet | None) -> None:
        """Makes a subnet the active one until further notice.

        Args:
            subnet: A member of the space; None for the stock network.

        Raises:
            ValueError: If it is not in the space.
        """
        if subnet is not None:
            self.space.check(subnet)
        self._slices = None
        self._subnet = subnet

    @contextmanager
    def use(self, subnet: Subnet | None) -> Iterator[None]:
        """Makes a subnet the active one inside a ``with`` block."""
        before = self._subnet, self._slices
        self.set_subnet(subnet)
        try:
            yield
        finally:
            self._subnet, self._slices = before

    @contextmanager
    def frozen(self, subnet: Subnet | None) -> Iterator[None]:
        """Like :meth:`use`, with the weights sliced and packed once.

        For repeated evaluation. Weights must not change inside the block;
        nothing of the slices outlives it, nor goes into a copy of the model.
        """
        with self.use(subnet):
            if subnet is not None and subnet != self.space.largest:
                with torch.no_grad():
                    self._slices = self._packed_slices(subnet)
            yield

    @contextmanager
    def gated(self, gates: Gates) -> Iterator[None]:
        """Runs the whole network with gates; gradients reach them.

        What comes out is what the gates' subnet gives; what it costs is a
        forward of the whole network.

        Args:
            gates: Of a member of the space.
        """
        with self.use(gates.subnet):
            self._slices = self._gated_slices(gates)
            yield

    def __getstate__(self) -> dict[str, Any]:
        """Without the slices of a ``with`` block: copies would keep them."""
        return {**self.__dict__, '_slices': None}

    # Cost

    def macs(self, subnet: Subnet | None = None, count: str = 'exact') -> int:
        """Multiply-adds for one image of the configured size.

        Args:
            subnet: None for the largest.
            count: 'exact' or 'paper', see :meth:`Geometry.macs`.
        """
        return self.geometry.macs(subnet or self.space.largest, count)

    def params(self, subnet: Subnet | None = None) -> int:
        """Parameters of a subnet as a network of its own."""
        return self.geometry.params(subnet or self.space.largest)

    # Forward

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features at ``out_indices``, of full width.

        Args:
            x: Images (B, channels, height, width).

        Returns:
            One tensor per output, in the shape that ``out_type`` says;
            channels beyond the subnet's E are zero.
        """
        subnet, slices = self._subnet, self._slices
        if slices is None:
            if subnet is None or subnet == self.space.largest:
                return super().forward(x)
            slices = self._slice_ends(subnet.embed_dims)
        assert subnet is not None
        x, resolution = self._embed(slices, x)
        outs = []
        for i, layer in enumerate(self.layers):
            if slices.layers:
                x = layer(x, slices=slices.layers[i])
            else:
                x = layer(
                    x, subnet.num_heads[i], subnet.feedforward_channels[i]
                )
            if i == len(self.layers) - 1 and self.final_norm:
                x = layer_norm(self.ln1, slices.norms['ln1'], x)
            if i in self.out_indices:
                outs.append(self._output(slices, x, resolution))
        return tuple(outs)

    def _embed(
        self, slices: BackboneSlices, x: Tensor
    ) -> tuple[Tensor, tuple[int, int]]:
        """Images to tokens (B, N, E), and the patch grid."""
        embed = self.patch_embed
        if embed.adaptive_padding:
            x = embed.adaptive_padding(x)
        conv = embed.projection
        x = F.conv2d(
            x, *slices.projection, conv.stride, conv.padding, conv.dilation
        )
        resolution = (x.shape[2], x.shape[3])
        x = x.flatten(2).transpose(1, 2)  # (B, E, h, w) -> (B, N, E)
        if embed.norm is not None:
            x = layer_norm(embed.norm, slices.norms['patch_embed.norm'], x)
        if slices.cls_token is not None:
            x = torch.cat((slices.cls_token.expand(len(x), -1, -1), x), dim=1)
        x = x + resize_pos_embed(
            slices.pos_embed,
            self.patch_resolution,
            resolution,
            mode=self.interpolate_mode,
            num_extra_tokens=self.num_extra_tokens,
        )
        x = self.drop_after_pos(x)
        if 'pre_norm' in slices.norms:
            x = layer_norm(self.pre_norm, slices.norms['pre_norm'], x)
        return x, resolution

    def _output(
        self, slices: BackboneSlices, x: Tensor, resolution: tuple[int, int]
    ) -> Tensor:
        """Tokens (B, N, E) in the form of ``out_type``, padded to C."""
        if self.out_type == 'avg_featmap':
            mean = x[:, self.num_extra_tokens :].mean(dim=1)
            out = layer_norm(self.ln2, slices.norms['ln2'], mean)
        else:
            out = self._format_output(x, resolution)
        closed = self.embed_dims - x.shape[-1]
        if not closed:
            return out
        behind = (0, 0, 0, 0) if self.out_type == 'featmap' else ()
        return F.pad(out, (*behind, 0, closed))

    def _slice_ends(self, width: int) -> BackboneSlices:
        """Views of what stands before and behind the layers."""
        conv = self.patch_embed.projection
        bias = None if conv.bias is None else conv.bias[:width]
        cls_token = self.cls_token
        return BackboneSlices(
            Affine(conv.weight[:width], bias),
            None if cls_token is None else cls_token[..., :width],
            self.pos_embed[..., :width],
            {
                name: slice_norm(norm, width)
                for name, norm in end_norms(self).items()
            },
            (),
        )

    def slice(self, subnet: Subnet) -> BackboneSlices:
        """Views of all open weights of a subnet, in or out of the space."""
        layers = [
            layer.slice(subnet.embed_dims, heads, channels)
            for layer, heads, channels in zip(
                self.layers,
                subnet.num_heads,
                subnet.feedforward_channels,
                strict=True,
            )
        ]
        ends = self._slice_ends(subnet.embed_dims)
        return ends._replace(layers=tuple(layers))

    def _packed_slices(self, subnet: Subnet) -> BackboneSlices:
        """All open weights, those of the layers each in one piece."""
        slices = self.slice(subnet)
        packed = [layer.contiguous() for layer in slices.layers]
        return slices._replace(layers=tuple(packed))

    def _gated_slices(self, gates: Gates) -> BackboneSlices:
        """All weights with gates in them."""
        gates = gates.to(self.pos_embed.dtype)
        channels = gates.embed_dims
        ends = self._slice_ends(len(channels))
        weight, bias = ends.projection
        projection = Affine(
            weight * channels[:, None, None, None],
            None if bias is None else bias * channels,
        )
        token = ends.cls_token
        layers = zip(
            self.layers,
            gates.num_heads,
            gates.feedforward_channels,
            strict=True,
        )
        return BackboneSlices(
            projection,
            None if token is None else token * channels,
            ends.pos_embed * channels,
            {
                name: gate_norm(slice_norm(norm, len(channels)), channels)
                for name, norm in end_norms(self).items()
            },
            tuple(
                layer.gate(channels, heads, hidden)
                for layer, heads, hidden in layers
            ),
        )

    # Loading

    def init_weights(self) -> None:
        """The stock initialisation; reads timm's, HF's and JAX files too.

        Raises:
            FileNotFoundError: If ``init_cfg`` names a file that is not there.
            ValueError: If it is broken or cannot be converted.
        """
        declared: Any = self.init_cfg
        num_patches = self.geometry.num_patches
        self.init_cfg: Any = resolve_pretrained(declared, num_patches)
        try:
            super().init_weights()
        except CheckpointError as error:
            is_one = isinstance(declared, dict)
            name = declared['checkpoint'] if is_one else declared
            raise ValueError(f'init_cfg: {name}: {error}') from error
        finally:
            self.init_cfg = declared

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        """Checks a checkpoint before any weight is touched.

        Raises:
            ValueError: If keys or shapes differ, the position embedding's
                number of tokens excepted.
        """
        adapt_vit_state(self, state_dict, prefix)
        check_state_dict(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _prepare_pos_embed(
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        """Resizes the positions of a square grid, in place.

        mmpretrain's, which this replaces, takes the first of N + 1 rows for a
        class token's where the network has N patches and no class token. Of
        a checked checkpoint every row is a patch's, and N + 1 a square.
        """
        name = f'{prefix}pos_embed'
        given = state_dict.get(name)
        if given is None or given.shape == self.pos_embed.shape:
            return
        old, new = tuple(given.shape), tuple(self.pos_embed.shape)
        print_log(f'{name}: resized from {old} to {new}', 'current')
        extra = self.num_extra_tokens
        side = isqrt(given.shape[1] - extra)
        state_dict[name] = resize_pos_embed(
            given,
            (side, side),
            self.patch_resolution,
            self.interpolate_mode,
            extra,
        )


def end_norms(vit: VisionTransformer) -> dict[str, nn.LayerNorm]:
    """The LayerNorms outside of the layers that the forward uses."""
    norms = dict(vit.named_modules())
    names = ('patch_embed.norm', 'pre_norm', 'ln1', 'ln2')
    return {
        name: norms[name]
        for name in names
        if isinstance(norms.get(name), nn.LayerNorm)
    }


def _check_drop_path(vit: VisionTransformer) -> None:
    """Refuses a rate that drops all or more; of the layers, the worst.

    Raises:
        ValueError: Names the rate.
    """
    rates = [
        float(module.drop_prob)
        for module in vit.modules()
        if isinstance(module, DropPath)
    ]
    rate = max(rates, key=abs, default=0.0)
    if not 0 <= rate < 1:
        raise ValueError(f'drop_path_rate={rate}; must be in [0, 1)')


def _check_sliceable(vit: VisionTransformer) -> None:
    """Refuses parts that have no prefix slice, by name.

    Raises:
        ValueError: Names the part, what it is, and what can be sliced.
    """
    if type(vit.patch_embed.projection) is not nn.Conv2d:
        raise ValueError(
            f'patch_embed: conv_type={type(vit.patch_embed.projection)}; '
            'only Conv2d can be sliced'
        )
    for name, module in vit.named_modules():
        leaf = name.rsplit('.', 1)[-1]
        is_norm = leaf in ('ln1', 'ln2', 'pre_norm') or (
            name == 'patch_embed.norm'
        )
        if is_norm and not isinstance(module, nn.LayerNorm | nn.Identity):
            raise ValueError(
                f'{name}: norm {type(module).__name__} cannot be sliced; '
                "only norm_cfg type 'LN' can"
            )
        if isinstance(module, nn.LayerNorm) and module.bias is None:
            raise ValueError(
                f'{name}: a LayerNorm without weight and bias cannot be sliced'
            )
    for i, layer in enumerate(vit.layers):
        ffn = layer.ffn
        if not isinstance(ffn, SwiGLUFFN) and ffn.num_fcs != 2:
            raise ValueError(
                f'layer {i}: num_fcs={ffn.num_fcs}; only FFNs of 2 linear '
                'maps can be sliced'
            )
        if not isinstance(ffn, SwiGLUFFN) and _has_weights(ffn.layers[0][1]):
            raise ValueError(
                f'layer {i}: act_cfg {type(ffn.layers[0][1]).__name__} has '
                'weights of its own; only activations without can be sliced'
            )
        if layer.attn.head_dims != vit.layers[0].attn.head_dims:
            raise ValueError(
                f'layer {i}: head_dims={layer.attn.head_dims}, layer 0 has '
                f'{vit.layers[0].attn.head_dims}; all layers must have heads '
                'of one width'
            )
        if vit.embed_dims % layer.attn.num_heads:
            raise ValueError(
                f'layer {i}: embed_dims={vit.embed_dims} does not divide '
                f'into num_heads={layer.attn.num_heads} heads'
            )


def _geometry(vit: VisionTransformer) -> Geometry:
    conv = vit.patch_embed.projection
    rows, columns = vit.patch_resolution
    norms = end_norms(vit)
    layers = list(vit.layers)
    return Geometry(
        num_patches=rows * columns,
        num_extra_tokens=vit.num_extra_tokens,
        patch_dims=conv.weight[0].numel(),
        head_dims=layers[0].attn.head_dims,
        num_layers=len(layers),
        patch_bias=conv.bias is not None,
        stem_norms=len(norms.keys() & {'patch_embed.norm', 'pre_norm'}),
        tail_norms=len(norms.keys() & {'ln1', 'ln2'}),
        qkv_bias=tuple(layer.attn.qkv.bias is not None for layer in layers),
        layer_scale=tuple(
            (_has_weights(layer.attn.gamma1), _has_weights(layer.ffn.gamma2))
            for layer in layers
        ),
        swiglu=tuple(isinstance(layer.ffn, SwiGLUFFN) for layer in layers),
    )


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _build_space(
    vit: VisionTransformer, cfg: Mapping[str, Any] | None
) -> SearchSpace:
    """The search space of a config; its largest member is the network.

    Raises:
        ValueError: If the space is not valid or its largest member is not.
    """
    layers = list(vit.layers)
    whole: dict[str, Sequence[Any]] = dict(
        embed_dims=[vit.embed_dims],
        num_heads=[[layer.attn.num_heads] for layer in layers],
        feedforward_channels=[[hidden_channels(la.ffn)] for la in layers],
    )
    shape = dict(num_layers=len(layers), head_dims=layers[0].attn.head_dims)
    network = SearchSpace.from_config(whole, **shape).largest
    space = SearchSpace.from_config(whole if cfg is None else cfg, **shape)
    for axis in whole:
        largest, full = getattr(space.largest, axis), getattr(network, axis)
        if largest != full:
            raise ValueError(
                f"space: the largest {axis} is {largest}, the network's own "
                f'is {full}; the largest choice must be the whole network'
            )
    return space
